# SPDX-License-Identifier: Apache-2.0
"""Which boxes the people of a sequence get, and whose answers are drafts for whom."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.crop import SquareCrop
from edgepose.results import Keypoint, Localization, Pose
from edgepose.tracking import Track, carry

IMAGE = np.zeros((480, 640, 3), np.uint8)
BOX = (100.0, 50.0, 80.0, 200.0)

places = st.floats(-500, 500)
sizes = st.floats(1, 500)
rectangles = st.tuples(places, places, sizes, sizes)


@given(rectangles, rectangles)
def test_who_stands_still_keeps_the_box(box: Any, found: Any) -> None:
    np.testing.assert_allclose(carry(box, found, found), box, atol=1e-9)


@given(rectangles, rectangles, places, places, st.floats(0.1, 10))
def test_the_box_moves_and_grows_with_the_person(
    box: Any, found: Any, x: float, y: float, scale: float
) -> None:
    found = (found[0], found[1], max(found[2], box[2]), max(found[3], box[3]))  # they tell a size

    def seen(rectangle: Any) -> tuple[float, ...]:
        left, top, width, height = rectangle
        return scale * left + x, scale * top + y, scale * width, scale * height

    np.testing.assert_allclose(carry(box, found, seen(found)), seen(box), atol=1e-6)


def test_a_raised_arm_makes_room() -> None:
    # Ten pixels around the keypoints, and still ten when they reach higher but not further than before.
    assert carry((90, 90, 70, 120), (100, 100, 50, 100), (100, 100, 90, 100)) == (90, 90, 110, 120)


def test_a_single_keypoint_moves_the_box() -> None:
    assert carry(BOX, (140, 100, 0, 0), (150, 90, 0, 0)) == (110, 40, 80, 200)
    assert carry(BOX, (140, 100, 4, 10), (150, 90, 40, 90)) == (128, 80, 80, 200)


def pose(*points: tuple[float, float], box: Any = BOX, valid: bool = True) -> Pose:
    keypoints = [
        Keypoint(f"point {number}", np.array(point), 0.5, valid=valid, token_ids=(number,))
        for number, point in enumerate(points)
    ]
    return Pose(tuple(map(float, box)), tuple(keypoints))


def inquiry(box: Any) -> Any:
    crop = None if box is None else SquareCrop.around(box, (640, 480))
    return types.SimpleNamespace(crop=crop, draft=lambda pose, before: [(before, pose)])


def step(track: Track, number: int, poses: list[Pose]) -> Any:
    """One frame: what is found where, in the boxes that the track gives out."""
    boxes = track.find(number, IMAGE)
    inquiries = [inquiry(box) for box in ([None] if boxes is None else boxes)]
    drafts = [guesses.answers for guesses in track.guess(inquiries)]
    track.remember(inquiries, Localization(poses))
    return boxes, drafts


def test_the_box_stays_until_the_person_is_somewhere_else() -> None:
    track = Track([BOX])
    corners = np.array([(105, 55), (175, 245)])
    for number, shift in enumerate((0, 3, 5, 12)):
        boxes, _ = step(track, number, [pose(*(corners + shift))])
        assert boxes == [BOX]
    boxes, drafts = step(track, 4, [pose(*(corners + 12))])
    assert boxes == [(112, 62, 80, 200)]
    ((before, last),) = drafts[0]
    assert before == SquareCrop.from_box(BOX, (640, 480)) and last.xy.tolist() == (corners + 12).tolist()
    # What is carried on is the box that was given.
    step(track, 5, [pose(*corners)])
    assert track.find(6, IMAGE) == [BOX]


def test_the_box_stays_in_the_image_and_when_nobody_is_found() -> None:
    track = Track([BOX])
    corners = np.array([(105, 55), (175, 245)])
    step(track, 0, [pose(*corners)])
    boxes, _ = step(track, 1, [pose(*(corners + (470, 0)))])
    assert boxes == [BOX]
    boxes, _ = step(track, 2, [pose(*(corners + (700, 0)))])
    assert boxes == [(570, 50, 70, 200)]  # cut at the edge
    boxes, _ = step(track, 3, [pose((np.nan, np.nan), valid=False)])
    assert boxes == [(570, 50, 70, 200)]  # gone
    assert track.find(4, IMAGE) == [(570, 50, 70, 200)]


def test_who_is_unsure_does_not_move_the_box() -> None:
    track = Track([BOX])
    sure = [Keypoint("nose", np.array([x, y]), 0.5, std=np.full(2, 2.0)) for x, y in ((105, 55), (175, 245))]
    wild = Keypoint("left ankle", np.array([600.0, 400.0]), 0.5, std=np.array([2.0, 31.0]))
    for number in range(2):
        boxes, _ = step(track, number, [Pose(BOX, (*sure, wild))])
        assert boxes == [BOX]


def test_squares_are_boxes_too() -> None:
    square = SquareCrop(200, 200, 100)
    track = Track([square])
    boxes, _ = step(track, 0, [pose((160, 160), (240, 240), box=square.box)])
    assert boxes == [square]
    boxes, _ = step(track, 1, [pose((260, 160), (340, 240), box=square.box)])
    assert boxes == [square]
    assert track.find(2, IMAGE) == [(250, 150, 100, 100)]


@pytest.mark.parametrize("kind", ["list", "array", "iterator", "function"])
def test_boxes_of_each_frame(kind: str) -> None:
    each = [[BOX], [(5.0, 5.0, 50.0, 50.0)], None]
    given: Any = {
        "list": each,
        "array": np.array(each[:2]),
        "iterator": iter(each),
        "function": lambda number, pixels, last: each[number],
    }[kind]
    track = Track(given)
    found = [step(track, number, [pose((120, 60), (170, 200))])[0] for number in range(3)]
    assert [np.asarray(boxes).tolist() for boxes in found[:2]] == [
        [list(box)] for box in ([BOX][0], each[1][0])
    ]
    assert np.asarray(found[2]).tolist() == [[5, 5, 50, 50]]  # carried on


def test_an_array_of_boxes_is_that_of_the_first_frame() -> None:
    track = Track(np.array([BOX, BOX]))
    boxes, _ = step(track, 0, [pose((110, 60)), pose((110, 60))])
    assert np.asarray(boxes).tolist() == [list(BOX), list(BOX)]


def test_drafts_go_to_whom_they_overlap() -> None:
    left, middle, right = ((x, 100.0, 100.0, 100.0) for x in (0.0, 80.0, 400.0))
    track = Track(iter([[left, right], [right, middle, left], [(390.0, 90.0, 120.0, 120.0)]]))
    people = [pose((10, 10), box=left), pose((20, 20), box=right)]
    step(track, 0, people)
    _, drafts = step(track, 1, [pose((30, 30)), pose((40, 40)), pose((50, 50))])
    assert [draft and draft[0][1] for draft in drafts] == [people[1], (), people[0]]
    _, drafts = step(track, 2, [pose((60, 60))])
    assert drafts[0][0][1].xy.tolist() == [[30, 30]]


def test_whole_frames_are_about_one_person() -> None:
    track = Track(None)
    boxes, drafts = step(track, 0, [pose((1, 1), box=(np.nan,) * 4)])
    assert boxes is None and drafts == [()]
    boxes, drafts = step(track, 1, [pose((2, 2), box=(np.nan,) * 4)])
    assert boxes is None and drafts[0][0][1].xy.tolist() == [[1, 1]]


def test_what_held_twice_is_offered_at_first() -> None:
    said = [[1, 2, 3], [1, 2, 4], [1, 2, 4], [1, 9, 4], [1, 9, 4], [1, 9, 4], [1, 9, 4, 5]]
    offers = []
    track = Track(None)
    for number, tokens in enumerate(said):
        track.find(number, IMAGE)
        asked: Any = types.SimpleNamespace(crop=None, draft=lambda pose, before: [pose.token_ids])
        offers.append(list(track.guess([asked])[0].offers))
        track.remember([asked], Localization([Pose(BOX, (), token_ids=tuple(tokens))]))
    # Behind the first frame nothing is known; then 2 held; 2 and all; all and 1; 1 and all; all, twice.
    assert offers == [[], [], [2], [2], [1], [1], [1 << 30]]
