# SPDX-License-Identifier: Apache-2.0
"""Reads a `tokenizer.json` of Llama's form into the normalised form.

What a configuration adds does not belong here: see `llama`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import read_json_object
from edgepose.export.tokenizer.llama_bpe import SPACE, llama_bpe

__all__ = ["tokenizer_from_json"]


def tokenizer_from_json(path: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, less what it puts in front of texts and around them.

    Raises:
        InvalidInputError: The file is no tokenizer, or not of Llama's form.
    """
    stored = read_json_object(path, "download the file again")
    model = stored.get("model")
    defects = []
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        got = model.get("type") if isinstance(model, dict) else type(model).__name__
        defects.append(f"a model of type {got}, not BPE")
        model = {}
    if not model.get("byte_fallback"):
        defects.append("no byte fallback")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(name):
            defects.append(f"{name} {model[name]!r}")
    defects += _text_defects(stored)
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        defects.append("no vocab and merges")
    if defects:
        raise InvalidInputError(
            f"[tokenizer] expected {path} to be a tokenizer of Llama's form (BPE with byte fallback; blanks "
            f"become '▁', one may be put in front); got {'; '.join(defects)}; put the checkpoint's "
            "tokenizer.model into the folder instead"
        )
    assert isinstance(vocabulary, dict) and isinstance(merges, list)
    pairs = [tuple(pair) if isinstance(pair, list) else tuple(str(pair).split(" ")) for pair in merges]
    special = {token.get("content") for token in stored.get("added_tokens") or [] if isinstance(token, dict)}
    pairs = [p for p in pairs if not special & {*p, "".join(p)}]
    try:
        return llama_bpe(vocabulary, pairs, str(model.get("unk_token") or "<unk>"))
    except Exception as error:  # the library raises plain Exception
        raise InvalidInputError(
            f"[tokenizer] expected vocab and merges of {path} to fit together; got {error}; download the "
            "file again"
        ) from error


def _text_defects(stored: Mapping[str, Any]) -> list[str]:
    """What a `tokenizer.json` does to text beyond replacing blanks and putting one in front."""
    defects = []
    normalizer: dict[str, Any] = stored.get("normalizer") or {}
    steps = normalizer.get("normalizers", []) if normalizer.get("type") == "Sequence" else [normalizer]
    for step in steps:
        plain = not step or (step.get("type") == "Prepend" and step.get("prepend") == SPACE)
        replaces = step.get("type") == "Replace" and step.get("content") == SPACE
        if not plain and not (replaces and step.get("pattern") == {"String": " "}):
            defects.append(f"normalizer {json.dumps(step, ensure_ascii=False)}")
    before = stored.get("pre_tokenizer")
    if before is not None and not (
        before.get("type") == "Metaspace"
        and before.get("replacement") == SPACE
        and not before.get("split", True)
    ):
        defects.append(f"pre-tokenizer {json.dumps(before, ensure_ascii=False)}")
    if not defects and before is None and not any(step and step.get("type") == "Replace" for step in steps):
        defects.append("blanks that stay blanks")
    return defects
