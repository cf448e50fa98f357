# SPDX-License-Identifier: Apache-2.0
"""Layouts from what a user says: names, printed answers, token ids, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from edgepose.bundle import LayoutSpec  # noqa: E402
from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export.answer_layout import read_layout  # noqa: E402
from edgepose.export.tokenizer import ByteLevelTokenizer, load_byte_level_tokenizer  # noqa: E402
from edgepose.keypoints import KEYPOINT_SETS  # noqa: E402
from edgepose.manifest import BLOCKS, MARKERS  # noqa: E402

PRINTED = (
    "<|kpt2d_start|> <|left_shoulder|> <261>, <630> <|left_elbow|> <300>, <7> <|kpt2d_end|> "
    "<|kpt3d_start|> <|left_shoulder|> <394>, <559>, <416> <|left_elbow|> <1>, <2>, <3> <|kpt3d_end|>"
    "<|im_end|>"
)
"""The form in which the published parser documents an answer."""


@pytest.fixture(scope="module")
def tokenizer(taihri_checkpoint: Path) -> ByteLevelTokenizer:
    return load_byte_level_tokenizer(taihri_checkpoint)


@pytest.fixture(scope="module")
def tokens(tokenizer: ByteLevelTokenizer) -> dict[str, Any]:
    bins, joints, markers, (end,) = tokenizer.ids(
        [[f"<{number}>" for number in range(1000)]],
        [[f"<|{name}|>" for name in KEYPOINT_SETS["smpl22"].keypoints]],
        [[f"<|{name}|>" for name in MARKERS]],
        [["<|im_end|>"]],
    )
    return {"bins": bins, "joints": joints, "markers": dict(zip(MARKERS, markers, strict=True)), "end": end}


def test_names(tokenizer: ByteLevelTokenizer, tokens: dict[str, Any]) -> None:
    assert read_layout(None, tokenizer, **tokens) == LayoutSpec(BLOCKS, source="default")
    assert read_layout("compact", tokenizer, **tokens) == LayoutSpec(BLOCKS, source="option")
    spaced = read_layout("spaced", tokenizer, **tokens)
    comma, blank = tuple(tokenizer.encode(", ")), tuple(tokenizer.encode(" "))
    assert (spaced.blocks, spaced.between_numbers, spaced.between_joints) == (BLOCKS, comma, blank)
    assert len(comma) == 2 and len(blank) == 1


def test_examples(tokenizer: ByteLevelTokenizer, tokens: dict[str, Any], tmp_path: Path) -> None:
    spaced = read_layout("spaced", tokenizer, **tokens)
    separators = {name: () if "box" in name else part for name, part in spaced.separators.items()}
    expected = LayoutSpec(("kpt2d", "kpt3d"), source="option", **separators)
    assert read_layout(PRINTED, tokenizer, **tokens) == expected
    ids = json.dumps(tokenizer.encode_marked(PRINTED))
    assert read_layout(ids, tokenizer, **tokens) == expected
    for content in (f"\n{PRINTED}\n", f" {ids}\n"):
        (tmp_path / "answer.txt").write_text(content, encoding="utf-8")
        assert read_layout(tmp_path / "answer.txt", tokenizer, **tokens) == expected
        assert read_layout(str(tmp_path / "answer.txt"), tokenizer, **tokens) == expected
    compact = PRINTED.replace(" ", "").replace(",", "")
    assert read_layout(compact, tokenizer, **tokens) == LayoutSpec(("kpt2d", "kpt3d"), source="option")
    boxed = compact.replace("<|kpt3d_start|>", "<|box_start|><1><2><3><4><|box_end|><|kpt3d_start|>")
    assert read_layout(boxed, tokenizer, **tokens).blocks == ("kpt2d", "box", "kpt3d")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.txt", "or an existing file with one; got 'nowhere.txt'"),
        ("[1, 2.5]", r"got '\[1, 2.5\]'"),
        ("", "got ''"),
        ("x" * 5000, "got 'xxx"),
        ("[]", "the start of a block"),
        (PRINTED.replace("<394>, <559>", "<394> <559>"), "at every place between_numbers"),
        (PRINTED.replace("<|kpt2d_end|>", ""), "the end of the kpt2d block; got the start of a kpt3d block"),
        (PRINTED.replace("<630>", "<1630>"), r"2 numbers in a row|at every place"),
    ],
)
def test_other_texts_are_refused(
    tokenizer: ByteLevelTokenizer, tokens: dict[str, Any], given: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_layout(given, tokenizer, **tokens)


def test_unreadable_files_are_named(
    tokenizer: ByteLevelTokenizer, tokens: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "answer.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match=r"answer\.txt to hold an answer as UTF-8 text"):
        read_layout(tmp_path / "answer.txt", tokenizer, **tokens)
