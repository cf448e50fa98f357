# SPDX-License-Identifier: Apache-2.0
"""From answer tokens back to text, as byte-level BPE writes it, special tokens included.

Reading coordinates out of the text does not belong here: see `edgepose.block_text`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

__all__ = ["TokenBytes"]


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """The characters that stand for bytes: printable Latin-1 for itself, others from U+0100 on, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(0x100) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(0x100 + place): byte for place, byte in enumerate(others)},
    }


class TokenBytes:
    """The bytes of each token; joined and decoded they are the text, with nothing cleaned up.

    Source: byte-level BPE of GPT-2, as the `ByteLevel` decoder of the `tokenizers` library reads it.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items()}

    def pieces(self, ids: Iterable[int]) -> list[bytes]:
        """Bytes of each token; none for an id that the tokenizer does not know."""
        return [self._piece(number) for number in ids]

    def text(self, ids: Iterable[int]) -> str:
        """Text of the tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.pieces(ids)).decode("utf-8", "replace")

    def _piece(self, number: int) -> bytes:
        added = self._added.get(number)
        if added is not None:
            return added.encode()
        piece = self._tokenizer.id_to_token(number) or ""
        known = _byte_of_character()
        return b"".join(
            bytes([known[character]]) if character in known else character.encode() for character in piece
        )
