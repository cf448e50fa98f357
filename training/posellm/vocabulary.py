# SPDX-License-Identifier: Apache-2.0
"""Trains the small tokenizer of a compact model: Llama's structure, with pieces as long as sentences.

How prompts are worded does not belong here: the sentences come from `edgepose.export.prompts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgepose.export.prompts import PROMPT_FORMATS
from edgepose.export.random_checkpoint.sentencepiece_vocabulary import (
    train_pieces,
    write_tokenizer_settings,
)
from edgepose.keypoint_wording import DEFAULT_TEXTS

__all__ = ["write_tokenizer"]

_LONGEST_PIECE = 160
"""Characters of a piece: more than any sentence of the prompts has."""


def write_tokenizer(folder: Path, *, vocabulary: int) -> int:
    """Writes `tokenizer.model` and the files beside it that a Llama checkpoint has.

    A SentencePiece model of Llama's structure: BPE with byte fallback, ids 0, 1, 2 `<unk>`, `<s>`, `</s>`,
    then 256 bytes, each digit a piece, `▁[` one piece. Unlike Llama's its pieces may span words, so that the
    sentences of a prompt, which never change, are few tokens. It is the same on every machine.

    Args:
        folder: Directory to write to.
        vocabulary: Pieces at most.

    Returns:
        Number of pieces.
    """
    model = train_pieces(
        _sentences(),
        pieces=vocabulary,
        split_by_whitespace=False,
        split_by_unicode_script=False,
        add_dummy_prefix=False,
        max_sentencepiece_length=_LONGEST_PIECE,
    )
    model.normalizer_spec.add_dummy_prefix = True  # as Llama's says; prompts spell their blanks out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    write_tokenizer_settings(folder, len(model.pieces))
    return len(model.pieces)


def _sentences() -> Iterator[str]:
    """The parts of the prompts, each whole and by itself, so that no piece crosses from one into the next;
    then the characters of other texts."""
    wording = PROMPT_FORMATS["keypoint"]
    fixed = [part for line in wording.after.splitlines() for part in _around_placeholders(line)]
    for _ in range(12):
        yield f" {wording.before.rstrip()}"
        yield from fixed
    for _ in range(3):
        for text in DEFAULT_TEXTS.values():
            yield f" {text.description}"
            yield f" {text.name}"
    yield " ["
    yield from "0123456789.,]"
    yield "The quick brown fox jumps over the lazy dog; (SPHINX OF BLACK QUARTZ, JUDGE MY VOW)"
    yield "+ - * / ' \" ! # % & = @ < > { } ~ ^ | $ _ ? [ ]"


def _around_placeholders(line: str) -> list[str]:
    """`a {name} b` is `a` and ` b`: the blank before a placeholder goes with what fills it."""
    parts, rest = [], line
    while "{" in rest:
        before, _, rest = rest.partition("{")
        parts.append(before.rstrip())
        rest = rest.partition("}")[2]
    return [part for part in (*parts, rest) if part]
