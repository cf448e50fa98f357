# SPDX-License-Identifier: Apache-2.0
"""Layouts of answers: learnt from tokens, or named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.answer_layout import NAMED_LAYOUTS, layout_from_tokens, named_layout
from edgepose.bundle import LayoutSpec
from edgepose.errors import InvalidInputError
from edgepose.manifest import BLOCKS, MARKERS

BINS = range(100, 200)
JOINTS = range(200, 222)
IDS = {name: 300 + place for place, name in enumerate(MARKERS)}
END = 99

separator = st.lists(st.integers(0, 9), max_size=3).map(tuple)
layouts = st.builds(
    LayoutSpec,
    blocks=st.sampled_from(
        [("kpt2d", "kpt3d"), ("kpt3d", "kpt2d"), ("box", "kpt2d", "kpt3d"), ("kpt2d", "box", "kpt3d"), BLOCKS]
    ),
    source=st.just("probe"),
    **{name: separator for name in LayoutSpec(blocks=()).separators},
)


def learn(ids: Sequence[int]) -> LayoutSpec:
    return layout_from_tokens(ids, bins=BINS, joints=JOINTS, markers=IDS, end=END, source="probe")


def join(parts: Sequence[Sequence[int]], between: Sequence[int]) -> list[int]:
    joined = list(parts[0])
    for part in parts[1:]:
        joined += [*between, *part]
    return joined


def write(layout: LayoutSpec, joints: Sequence[int], end: bool = True) -> list[int]:
    """An answer, by the grammar that the published parser reads."""

    def joint(number: int, count: int) -> list[int]:
        numbers = join([[100 + number + k] for k in range(count)], layout.between_numbers)
        return [200 + number, *layout.after_name, *numbers]

    blocks = []
    for block in layout.blocks:
        before, after = layout.after_start, layout.before_end
        if block == "box":
            before, after = layout.after_box_start, layout.before_box_end
            inner = join([[150], [151], [152], [153]], layout.between_box_numbers)
        else:
            count = {"kpt2d": 2, "kpt3d": 3}[block]
            inner = join([joint(number, count) for number in joints], layout.between_joints)
        start, stop = IDS[f"{block}_start"], IDS[f"{block}_end"]
        blocks.append([start, *before, *inner, *after, stop])
    return [*join(blocks, layout.between_blocks), *layout.after_blocks, *([END, 7, 300] if end else [])]


@given(layouts, st.lists(st.integers(0, 21), min_size=2, max_size=5), st.booleans())
def test_an_answer_tells_how_it_is_set(layout: LayoutSpec, joints: list[int], end: bool) -> None:
    learnt = learn(write(layout, joints, end))
    boxed = "box" in layout.blocks
    expected = {name: part if boxed or "box" not in name else () for name, part in layout.separators.items()}
    assert learnt.separators == expected
    assert (learnt.blocks, learnt.source) == (layout.blocks, "probe")


GOOD = write(LayoutSpec(BLOCKS, between_numbers=(1,), between_joints=(2,)), [3, 4])


def change(position: int, *tokens: int, remove: int = 1) -> list[int]:
    return [*GOOD[:position], *tokens, *GOOD[position + remove :]]


START_2D = GOOD.index(IDS["kpt2d_start"])
END_2D = GOOD.index(IDS["kpt2d_end"])
START_3D = GOOD.index(IDS["kpt3d_start"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "at token 0 the start of a block; got the end of the answer"),
        ([END], "the start of a block; got the end of the answer"),
        ([5, *GOOD], r"no text in front of the first block; got tokens \[5\]"),
        ([101, *GOOD], "the start of a block; got a number"),
        (GOOD[: START_3D - 1], "at token .* the end of the kpt2d block; got the end of the answer"),
        (GOOD[:START_3D], "a 2-D and a 3-D block; got no kpt3d block"),
        (GOOD[START_3D:], "a 2-D and a 3-D block; got no kpt2d block"),
        (GOOD[:START_2D] + GOOD, "one box block; got a second one"),
        (change(2, remove=1), "4 numbers in a row in the box block; got 3"),
        (change(2, 155, 156), "a joint or the end of the block; got a number"),
        (change(2, 201), "a number of the box; got a joint"),
        (change(START_2D + 2, remove=1), "the same tokens at every place|2 numbers in a row"),
        (change(END_2D, IDS["kpt3d_end"]), "the end of the kpt2d block; got that of kpt3d"),
        (change(END_2D, IDS["kpt3d_start"]), "the end of the kpt2d block; got the start of a kpt3d block"),
        (change(START_2D + 3, 8), r"every place between_numbers, \[8\] as at token .*; got \[1\]"),
        (write(LayoutSpec(BLOCKS), [3]), "at least two joints in the kpt2d block; got 1"),
        (
            [IDS["kpt2d_start"], 101, 102, IDS["kpt2d_end"]],
            "a joint or the end of the block; got a number",
        ),
    ],
)
def test_other_answers_are_refused_with_the_place(ids: list[int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        learn(ids)
    assert "name a layout: compact, spaced" in str(caught.value)


def test_layouts_by_name() -> None:
    def encode(text: str) -> list[int]:
        return [ord(character) for character in text]

    compact = named_layout("compact", encode, source="default")
    assert compact == LayoutSpec(BLOCKS, source="default")
    spaced = named_layout("spaced", encode)
    assert (spaced.blocks, spaced.source) == (BLOCKS, "option")
    assert spaced.between_numbers == spaced.between_box_numbers == (ord(","), ord(" "))
    for texts in NAMED_LAYOUTS.values():
        assert set(texts) <= set(spaced.separators)
    with pytest.raises(InvalidInputError, match="one of compact, spaced; got 'loose'"):
        named_layout("loose", encode)


def test_what_a_name_says_is_what_an_answer_of_it_says() -> None:
    for name in NAMED_LAYOUTS:
        layout = named_layout(name, lambda text: [ord(character) % 10 for character in text], source="probe")
        assert learn(write(layout, [0, 1, 2])) == layout
