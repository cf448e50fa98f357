# SPDX-License-Identifier: Apache-2.0
"""Loads a tokenizer of Llama's form in one normalised form, with what its configuration says.

The files it may be stored in are read in `llama_sentencepiece` and `llama_json`. Prompts do not belong here;
nor does anything a bundle needs beyond its `tokenizer.json`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import read_json_object
from edgepose.export.tokenizer.llama_bpe import SPACE
from edgepose.export.tokenizer.llama_json import tokenizer_from_json
from edgepose.export.tokenizer.llama_sentencepiece import tokenizer_from_sentencepiece

__all__ = ["IMAGE_PLACEHOLDER", "LlamaTokenizer", "load_tokenizer"]

IMAGE_PLACEHOLDER = "<im_patch>"
"""Text of the token that stands for one image patch; it is in no embedding table."""


@dataclass(frozen=True, slots=True)
class LlamaTokenizer:
    """A checkpoint's tokenizer in the normalised form, and what its configuration says.

    The normalised `tokenizer` is a BPE with byte fallback that does nothing to a text but replace " " by "▁":
    no blank is put in front, nothing is added around, and special tokens are not found in text (`encode`
    treats `</s>` as four characters; the image placeholder is unknown to it). The last is a property of the
    object that `tokenizer.json` does not keep: set `encode_special_tokens` again after reading the file.
    """

    tokenizer: Tokenizer
    source: Path
    """File it was read from."""
    legacy: bool
    """Whether text after a special token gets a blank in front, as `transformers` did before it was
    corrected."""
    unknown: int
    begin: int
    end: int
    pad: int
    """Id that fills prompts on the left and answers after their end."""
    image: int
    """Id of the image placeholder in prompts; never embedded."""
    cleanup_spaces: bool
    """Whether decoding removes blanks before punctuation."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, exactly as it stands."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; special tokens are left out, one leading blank too.

        As SentencePiece decodes: each byte that is part of no character becomes U+FFFD, the characters around
        it stay. (The decoder of the `tokenizers` library gives up the whole run of bytes.)
        """
        text, run = "", b""
        special = (self.unknown, self.begin, self.end, self.pad)
        for number in ids:
            piece = self.tokenizer.id_to_token(number)
            if number in special or piece is None:
                continue
            if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
                run += bytes.fromhex(piece[3:5])
                continue
            text, run = text + _utf8(run), b""
            text += (piece if text else piece.removeprefix(SPACE)).replace(SPACE, " ")
        return text + _utf8(run)

    def require(self, token: str) -> int:
        """Id of a token by its exact text.

        Raises:
            InvalidInputError: There is no such token.
        """
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise InvalidInputError(
                f"[tokenizer] expected {self.source} to hold the token {token!r}, which coordinates are "
                "written with; got none; use a checkpoint with a tokenizer of the Llama 2 family"
            )
        return int(found)

    def check_vocabulary(self, embedding_rows: int, head_rows: int) -> None:
        """Checks that every token has a row in the embedding table and in the head; the placeholder alone may
        lie outside.

        Raises:
            InvalidInputError: The numbers disagree.
        """
        tokens = self.tokenizer.get_vocab_size()
        if not tokens == embedding_rows == head_rows:
            raise InvalidInputError(
                "[tokenizer] expected as many tokens as rows of the embedding table and of the head; got "
                f"{tokens} tokens in {self.source}, {embedding_rows} embedding rows, {head_rows} head rows; "
                "use the tokenizer files that belong to the weights"
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the normalised form as a `tokenizer.json`."""
        self.tokenizer.save(os.fspath(path))

    @property
    def provenance(self) -> dict[str, object]:
        """What a bundle says of where its tokenizer comes from."""
        return {"tokenizer": self.source.name, "legacy_tokenizer": self.legacy}


def load_tokenizer(
    path: str | os.PathLike[str], *, config: Mapping[str, Any] | None = None
) -> LlamaTokenizer:
    """Loads the tokenizer of a checkpoint directory.

    Args:
        path: Directory with `tokenizer.model` (preferred) or `tokenizer.json`, and where there are
            `tokenizer_config.json`, `added_tokens.json`.
        config: `config.json`, for its `im_patch_token`; default: read from the directory where it is there.

    Returns:
        The tokenizer. `legacy` is true and `cleanup_spaces` false where the configuration does not say, as in
        `transformers` 4.31's `LlamaTokenizer`.

    Raises:
        InvalidInputError: Files are missing, broken or contradictory, or the tokenizer is not of Llama's
            form.
    """
    folder = Path(path)
    settings = _optional_json(folder / "tokenizer_config.json")
    if config is None:
        config = _optional_json(folder / "config.json")
    model, converted = folder / "tokenizer.model", folder / "tokenizer.json"
    if model.is_file():
        source, tokenizer = model, tokenizer_from_sentencepiece(model)
    elif converted.is_file():
        source, tokenizer = converted, tokenizer_from_json(converted)
    else:
        raise InvalidInputError(
            f"[tokenizer] expected tokenizer.model or tokenizer.json in {folder}; got neither; copy the "
            "tokenizer files of the checkpoint, or of the language model it was trained from, into that "
            "folder"
        )
    ids = {}
    for role, default in (("unk", "<unk>"), ("bos", "<s>"), ("eos", "</s>")):
        token = _token_text(settings.get(f"{role}_token")) or default
        found = tokenizer.token_to_id(token)
        if found is None:
            raise InvalidInputError(
                f"[tokenizer] expected {source} to hold the {role} token {token!r}; got none; use the "
                "tokenizer_config.json that belongs to it"
            )
        ids[role] = int(found)
    pad_text = _token_text(settings.get("pad_token"))
    pad = tokenizer.token_to_id(pad_text) if pad_text else None
    tokenizer.add_special_tokens(
        [
            AddedToken(tokenizer.id_to_token(i), normalized=False, special=True)
            for i in sorted(set(ids.values()))
        ]
    )
    tokenizer.encode_special_tokens = True
    return LlamaTokenizer(
        tokenizer=tokenizer,
        source=source,
        legacy=_flag(settings, "legacy", True),
        unknown=ids["unk"],
        begin=ids["bos"],
        end=ids["eos"],
        pad=ids["unk"] if pad is None else int(pad),
        image=_image_placeholder(folder, settings, config, tokenizer.get_vocab_size()),
        cleanup_spaces=_flag(settings, "clean_up_tokenization_spaces", False),
    )


def _image_placeholder(
    folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any], vocabulary: int
) -> int:
    """Id of the image placeholder, wherever the checkpoint names it; all places must agree."""
    named: dict[str, int] = {}
    for place, value in (
        ("added_tokens.json", _optional_json(folder / "added_tokens.json").get(IMAGE_PLACEHOLDER)),
        ("config.json", config.get("im_patch_token")),
    ):
        if isinstance(value, int):
            named[place] = value
    decoder = settings.get("added_tokens_decoder")
    for number, token in decoder.items() if isinstance(decoder, dict) else ():
        if _token_text(token) == IMAGE_PLACEHOLDER and str(number).isdecimal():
            named["tokenizer_config.json"] = int(number)
    if len(set(named.values())) > 1:
        raise InvalidInputError(
            f"[tokenizer] expected one id of the image placeholder {IMAGE_PLACEHOLDER} in {folder}; got "
            f"{', '.join(f'{value} in {place}' for place, value in named.items())}; use files of one "
            "training run"
        )
    return next(iter(named.values()), vocabulary)


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json_object(path, "download the file again") if path.exists() else {}


def _utf8(run: bytes) -> str:
    """Decodes bytes, one U+FFFD for each that begins no character."""
    text = ""
    while run:
        for length in range(1, 5):
            try:
                character = run[:length].decode()
            except UnicodeDecodeError:
                continue
            break
        else:
            character, length = "\ufffd", 1
        text, run = text + character, run[length:]
    return text


def _token_text(token: object) -> str | None:
    """A token in a tokenizer configuration is a string, or an object with its text."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _flag(settings: Mapping[str, Any], name: str, default: bool) -> bool:
    value = settings.get(name)
    return default if value is None else bool(value)
