# SPDX-License-Identifier: Apache-2.0
"""Answers in blocks, well written and badly, read from their text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.block_text import BlockText, read_blocks

EXAMPLE = (
    "<|box_start|><12><30><870><999><|box_end|>"
    "<|kpt2d_start|> <|left_shoulder|> <261>, <630> <|left_elbow|> <300>, <702> <|kpt2d_end|> "
    "<|kpt3d_start|> <|left_shoulder|> <394>, <559>, <416> <|left_elbow|> <401>, <587>, <399> "
    "<|kpt3d_end|><|im_end|>"
)
COMPACT = EXAMPLE.replace(" ", "").replace(",", "")
TWO_D = {"left_shoulder": (261, 630), "left_elbow": (300, 702)}
THREE_D = {"left_shoulder": (394, 559, 416), "left_elbow": (401, 587, 399)}


def tokens(text: str) -> list[bytes]:
    """Special tokens whole, everything else character by character."""
    return [part.encode() for part in re.findall(r"<\|?\w+\|?>|.", text, re.DOTALL)]


def bins(read: BlockText, count: int) -> dict[str, tuple[int, ...]]:
    return {name: tuple(n.bin for n in numbers) for name, numbers in read.places[count].items()}


def places(text: str, count: int) -> dict[str, tuple[int, ...]]:
    return bins(read_blocks(tokens(text)), count)


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        COMPACT,
        EXAMPLE.replace(" ", "\n  "),
        EXAMPLE.replace("|", "")
        .replace("<box_start>", "<|box_start|>")
        .replace("<box_end>", "<|box_end|>")
        .replace("<kpt2d_start>", "<|kpt2d_start|>")
        .replace("<kpt2d_end>", "<|kpt2d_end|>")
        .replace("<kpt3d_start>", "<|kpt3d_start|>")
        .replace("<kpt3d_end>", "<|kpt3d_end|>"),
    ],
    ids=["example", "compact", "broken lines", "plain names"],
)
def test_all_spellings(text: str) -> None:
    read = read_blocks(tokens(text))
    assert [number.bin for number in read.box] == [12, 30, 870, 999]
    assert bins(read, 2) == TWO_D
    assert bins(read, 3) == THREE_D


def test_numbers_know_their_tokens() -> None:
    pieces = tokens(EXAMPLE)
    read = read_blocks(pieces)
    for numbers in (read.box, *read.places[2].values(), *read.places[3].values()):
        for number in numbers:
            assert number.token is not None and pieces[number.token] == b"<%d>" % number.bin


def test_numbers_spelled_by_several_tokens_have_none() -> None:
    read = read_blocks([bytes([byte]) for byte in EXAMPLE.encode()])
    assert bins(read, 3) == THREE_D
    assert all(number.token is None for numbers in read.places[3].values() for number in numbers)


def test_blocks_in_any_order_and_without_a_box() -> None:
    blocks = re.findall(r"<\|kpt.d_start.*?_end\|>", EXAMPLE)
    read = read_blocks(tokens("".join(reversed(blocks))))
    assert (read.box, bins(read, 2), bins(read, 3)) == ((), TWO_D, THREE_D)


def test_a_malformed_entry_does_not_swallow_the_next() -> None:
    text = EXAMPLE.replace("<394>, <559>, <416>", "<394>, <559>,")
    assert places(text, 3) == {"left_elbow": THREE_D["left_elbow"]}
    assert places(text, 2) == TWO_D
    nameless = EXAMPLE.replace("<|left_shoulder|> <261>", "<261>")
    assert places(nameless, 2) == {"left_elbow": TWO_D["left_elbow"]}


@pytest.mark.parametrize("length", range(len(tokens(COMPACT)) + 1))
def test_a_cut_answer_keeps_what_is_whole(length: int) -> None:
    read = read_blocks(tokens(COMPACT)[:length])
    # Place of the last token of each part: box 6 tokens, 2-D block 8, 3-D block 10.
    assert len(read.box) == (4 if length >= 5 else 0)
    assert list(read.places[2]) == list(TWO_D)[: (length >= 10) + (length >= 13)]
    assert list(read.places[3]) == list(THREE_D)[: (length >= 19) + (length >= 23)]


def test_the_first_block_and_the_first_entry_count() -> None:
    again = "<|kpt2d_start|><|left_wrist|><1><2><|kpt2d_end|>"
    assert places(EXAMPLE + again, 2) == TWO_D
    twice = EXAMPLE.replace("<|kpt2d_end|>", "<|left_elbow|> <1>, <2> <|kpt2d_end|>")
    assert places(twice, 2) == TWO_D


def test_bins_out_of_range_come_as_written() -> None:
    assert places(COMPACT.replace("<630>", "<1000>"), 2)["left_shoulder"] == (261, 1000)


@pytest.mark.parametrize(
    "text", ["", "I cannot see a person.", "<394><559>", "{", '{"a": ', "[" * 5000, "{}"]
)
def test_nothing_to_read(text: str) -> None:
    read = read_blocks(tokens(text))
    assert (read.box, read.places) == ((), {2: {}, 3: {}})


@pytest.mark.parametrize(
    ("text", "two", "three"),
    [
        (
            '```json\n{"keypoints_2d": {"left_wrist": "<10><20>"},\n'
            ' "keypoints_3d": {"left_wrist": "<1><2><3>"}}\n```',
            {"left_wrist": (10, 20)},
            {"left_wrist": (1, 2, 3)},
        ),
        ('{"keypoints": {"head": "<4><5><6>"}}', {}, {"head": (4, 5, 6)}),
        (
            '{"person1": {"bbox": "<0><1><2><3>", "keypoints": {"head": "<7><8>", "neck": "unvisible"}}}',
            {"head": (7, 8)},
            {},
        ),
    ],
)
def test_older_answers_in_json(
    text: str, two: dict[str, tuple[int, ...]], three: dict[str, tuple[int, ...]]
) -> None:
    read = read_blocks(tokens(text))
    assert (bins(read, 2), bins(read, 3)) == (two, three)
    assert [number.bin for number in read.box] == ([0, 1, 2, 3] if "bbox" in text else [])


@given(st.lists(st.sampled_from([*tokens(EXAMPLE), b"<|head|>", b"\xff", b"{", b'"', b"x"]), max_size=60))
def test_any_text_reads_without_an_error(pieces: list[bytes]) -> None:
    read = read_blocks(pieces)
    assert len(read.box) in (0, 4)
    for count in (2, 3):
        assert all(len(numbers) == count for numbers in read.places[count].values())
