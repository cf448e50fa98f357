# SPDX-License-Identifier: Apache-2.0
"""Converted tokenizers, `tokenizer.json`, against SentencePiece itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepose.errors import InvalidInputError
from edgepose.export.random_checkpoint import train_tokenizer
from edgepose.export.tokenizer import LlamaTokenizer, load_tokenizer

from .sentencepiece_oracle import Oracle, Pair

COORDINATES = " [0.512,0.334]"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("tiny")
    model = train_tokenizer(folder / "tokenizer.model")
    return load_tokenizer(folder), Oracle(model)


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def converted(source: LlamaTokenizer) -> dict[str, Any]:
    """The form in which transformers saves Llama tokenizers."""
    stored: dict[str, Any] = json.loads(source.tokenizer.to_str())
    stored["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    stored["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    return stored


@pytest.mark.parametrize("form", ["prepend", "metaspace", "string merges"])
def test_reads_converted_tokenizers(tiny: Pair, tmp_path: Path, form: str) -> None:
    source, oracle = tiny
    stored = converted(source)
    if form == "metaspace":
        stored["normalizer"] = None
        stored["pre_tokenizer"] = {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "first",
            "split": False,
        }
    if form == "string merges":
        stored["model"]["merges"] = [" ".join(pair) for pair in stored["model"]["merges"]]
    write(tmp_path / "tokenizer.json", stored)
    found = load_tokenizer(tmp_path)
    for text in ("Image:", " Image: x", "Keypoint: é\n\n0.123, </s>", COORDINATES, ""):
        assert found.encode(text) == oracle.exact.encode(text)
    assert found.tokenizer.post_processor is None
    assert found.decode(source.encode(COORDINATES)) == COORDINATES.strip()
    assert found.source == tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["model"].update(byte_fallback=False), "no byte fallback"),
        (lambda s: s["model"].update(dropout=0.1), "dropout 0.1"),
        (lambda s: s.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda s: s.update(normalizer=None), "blanks that stay blanks"),
        (lambda s: s.update(normalizer=None, pre_tokenizer={"type": "ByteLevel"}), "ByteLevel"),
        (lambda s: s.update(model={"type": "Unigram"}), "a model of type Unigram"),
        (lambda s: s.update(model=None), "a model of type NoneType"),
        (lambda s: s["model"].update(merges=[["nothing", "there"]]), "vocab and merges"),
    ],
)
def test_other_tokenizers_are_refused(
    tiny: Pair, tmp_path: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    stored = converted(tiny[0])
    change(stored)
    write(tmp_path / "tokenizer.json", stored)
    with pytest.raises(InvalidInputError, match=expected):
        load_tokenizer(tmp_path)
