# SPDX-License-Identifier: Apache-2.0
"""From answer tokens back to text, as SentencePiece writes it.

Reading coordinates out of the text does not belong here: see `edgepose.answers`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

__all__ = ["Detokenizer", "clean_up_spaces"]

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("edgepose-replace-each-byte", _replace_each_byte)


class Detokenizer:
    """Text of token ids: special tokens are left out, and one leading blank.

    A byte that is part of no character becomes U+FFFD and the characters around it stay. The decoder of the
    `tokenizers` library gives up the whole run of bytes instead, which the published slow tokenizer does not.

    Source: SentencePiece, `SentencePieceProcessor::Decode`.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}

    def __call__(self, ids: Iterable[int]) -> str:
        pieces = [self._tokenizer.id_to_token(number) or "" for number in ids if number not in self._special]
        if pieces:
            pieces[0] = pieces[0].removeprefix("▁")
        written = b"".join(_bytes_of(piece) for piece in pieces)
        return written.decode("utf-8", "edgepose-replace-each-byte")


def _bytes_of(piece: str) -> bytes:
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()


_SPACES = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def clean_up_spaces(text: str) -> str:
    """Remove blanks before punctuation, as tokenizers with `clean_up_tokenization_spaces` do in decoding.

    Source: transformers `PreTrainedTokenizerBase.clean_up_tokenization`.
    """
    for before, after in _SPACES:
        text = text.replace(before, after)
    return text
