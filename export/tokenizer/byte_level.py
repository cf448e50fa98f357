# SPDX-License-Identifier: Apache-2.0
"""Reads a byte-level BPE tokenizer of Qwen's form, `tokenizer.json`, and finds tokens in it by their text.

Prompts do not belong here; nor do other kinds of tokenizers.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tokenizers import Tokenizer

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import read_json_object

__all__ = ["ByteLevelTokenizer", "load_byte_level_tokenizer"]

_SHOWN = 4
"""Tokens that a message names out of many."""


@dataclass(frozen=True, slots=True)
class ByteLevelTokenizer:
    """A checkpoint's `tokenizer.json`, which a bundle keeps as it is."""

    tokenizer: Tokenizer
    source: Path
    """File it was read from."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, exactly as it stands; what looks like a special token is text."""
        return self._encode(text, special_tokens_are_text=True)

    def encode_marked(self, text: str) -> list[int]:
        """Ids of a text in which special tokens are found, as `transformers` does in all texts."""
        return self._encode(text, special_tokens_are_text=False)

    def added_tokens(self, text: str) -> list[tuple[int, int]]:
        """Where added tokens begin and end in a text, in characters; each of them cuts the text in two."""
        added = self.tokenizer.get_added_tokens_decoder()
        self.tokenizer.encode_special_tokens = False
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return [span for number, span in zip(encoding.ids, encoding.offsets, strict=True) if number in added]

    def ids(self, *groups: Sequence[Sequence[str]]) -> list[list[int]]:
        """Ids of tokens by their exact text.

        Args:
            groups: For each group of tokens the spellings it may have, each a list of the same length; the
                first of which every text is one token counts.

        Returns:
            For each group its ids, in the order of the texts.

        Raises:
            InvalidInputError: A group has no such spelling; one message lists what the texts of all such
                groups split into, in the spelling in which fewest do.
        """
        found: list[list[int]] = []
        split: dict[str, list[int]] = {}
        for spellings in groups:
            tried = [{token: self.encode_marked(token) for token in spelling} for spelling in spellings]
            best = min(tried, key=lambda ids: sum(len(each) != 1 for each in ids.values()))
            split |= {token: ids for token, ids in best.items() if len(ids) != 1}
            found.append([ids[0] for ids in best.values() if ids])
        if split:
            self._refuse(split)
        return found

    def check_vocabulary(self, embedding_rows: int, head_rows: int) -> None:
        """Checks that every token has a row in the embedding table and in the head; there may be more rows.

        Raises:
            InvalidInputError: One has none.
        """
        token, largest = max(
            self.tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1]
        )
        if embedding_rows != head_rows or largest >= embedding_rows:
            raise InvalidInputError(
                "[tokenizer] expected a row of the embedding table and of the head for every token; got ids "
                f"up to {largest} ({token!r}) in {self.source}, {embedding_rows} embedding rows, {head_rows} "
                "head rows; use the tokenizer files that belong to the weights"
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the `tokenizer.json` of a bundle: the same bytes, unless the file cuts or fills up texts."""
        stored = read_json_object(self.source, "download the file again")
        if not stored.get("truncation") and not stored.get("padding"):
            shutil.copyfile(self.source, path)
            return
        stored |= {"truncation": None, "padding": None}
        Path(path).write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")

    @property
    def provenance(self) -> dict[str, object]:
        """What a bundle says of where its tokenizer comes from."""
        return {"tokenizer": self.source.name}

    def _encode(self, text: str, *, special_tokens_are_text: bool) -> list[int]:
        self.tokenizer.encode_special_tokens = special_tokens_are_text
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _refuse(self, split: Mapping[str, Sequence[int]]) -> NoReturn:
        shown = [f"{token} is {list(ids)}" for token, ids in list(split.items())[:_SHOWN]]
        more = f", and {len(split) - _SHOWN} more" if len(split) > _SHOWN else ""
        raise InvalidInputError(
            f"[tokenizer] expected each of the tokens that answers are written with to be one id in "
            f"{self.source}; got several for {len(split)}: {', '.join(shown)}{more}; use the tokenizer files "
            "that the checkpoint was trained with (a tokenizer.json that is older than its added tokens is "
            "written anew by AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers)"
        )


def load_byte_level_tokenizer(path: str | os.PathLike[str]) -> ByteLevelTokenizer:
    """Loads the `tokenizer.json` of a checkpoint directory.

    Raises:
        InvalidInputError: It is missing or broken, or not of Qwen's form: byte-level BPE in which texts are
            encoded without anything around them.
    """
    source = Path(path) / "tokenizer.json"
    if not source.is_file():
        raise InvalidInputError(
            f"[tokenizer] expected a file tokenizer.json in {path}; got none; copy it from the checkpoint, "
            "or have transformers write it: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    stored = read_json_object(source, "download the file again")
    defects = _defects(stored)
    if defects:
        raise InvalidInputError(
            f"[tokenizer] expected {source} to be a tokenizer of Qwen's form (byte-level BPE); got "
            f"{'; '.join(defects)}; use the tokenizer files that belong to the checkpoint"
        )
    try:
        tokenizer = Tokenizer.from_file(str(source))
    except Exception as error:  # the library raises plain Exception
        raise InvalidInputError(
            f"[tokenizer] expected {source} to be readable by the tokenizers library; got: {error}; download "
            "the file again, or upgrade tokenizers"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    around = tokenizer.num_special_tokens_to_add(False)
    if around:
        raise InvalidInputError(
            f"[tokenizer] expected {source} to put nothing around a text; got a post-processor that adds "
            f"{around} tokens; use the tokenizer files that belong to the checkpoint"
        )
    return ByteLevelTokenizer(tokenizer, source)


def _defects(stored: Mapping[str, object]) -> list[str]:
    defects = []
    model = stored.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else type(model).__name__
    if kind != "BPE":
        defects.append(f"a model of type {kind}, not BPE")
    elif isinstance(model, dict) and model.get("byte_fallback"):
        defects.append("byte fallback")
    if not _holds_byte_level(stored.get("pre_tokenizer")):
        defects.append(f"a pre-tokenizer without byte level: {json.dumps(stored.get('pre_tokenizer'))[:80]}")
    return defects


def _holds_byte_level(before: object) -> bool:
    if not isinstance(before, dict):
        return False
    steps = before.get("pretokenizers", []) if before.get("type") == "Sequence" else [before]
    return any(isinstance(step, dict) and step.get("type") == "ByteLevel" for step in steps)
