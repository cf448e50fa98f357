# SPDX-License-Identifier: Apache-2.0
"""`Localizer.track` against `locate` and `ask` frame by frame, on the stored bundles in both modes.

Which boxes and drafts a frame gets is in `test_tracking`; that drafts change no answer of a model that can be
recomputed is in `test_drafted_decoder`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import edgepose
from edgepose import Camera, InvalidInputError, Localizer
from edgepose._core import Answer, Choice
from edgepose.bundle import Bundle, DigitCodecSpec
from edgepose.images import load_image
from edgepose.questions.keypoint_questions import KeypointQuestions
from edgepose.results import Drafts, Localization, Pose

DATA = Path(__file__).parent / "data"
ASSETS = Path(edgepose.__file__).parent / "assets"
MODES = ("constrained", "exact")
KEYPOINTS = ["nose", "left wrist", "right knee"]

Frame = NDArray[np.uint8]


def shifted(image: Frame, x: float, y: float = 0.0, noise: int = 0) -> Frame:
    height, width = image.shape[:2]
    motion = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
    moved = cv2.warpAffine(image, motion, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(int)
    if noise:
        moved += np.random.default_rng(noise).integers(-noise, noise + 1, moved.shape)
    return np.clip(moved, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    """A photograph that stands still, shakes, moves, jumps, and stands still again.

    The first pass is offered what held in both of the last two frames, so that behind a jump only the third
    frame that is like the one before gets the whole draft again.
    """
    image = load_image(ASSETS / "person.jpg")
    frames = [image, image, shifted(image, 0.5, noise=1), shifted(image, 3, 1), shifted(image, 60, 20)]
    return [*frames, *frames[-1:] * 3]


@pytest.fixture(scope="module")
def box() -> tuple[float, ...]:
    return tuple(json.loads((ASSETS / "person.json").read_text(encoding="utf-8"))["box"])


@pytest.fixture(scope="module", params=MODES)
def crops(request: pytest.FixtureRequest) -> Localizer:
    """Digits, a crop for each person."""
    return Localizer(DATA / "bundle_v1", decode=request.param, threads=1)


@pytest.fixture(scope="module", params=MODES)
def whole(request: pytest.FixtureRequest) -> Localizer:
    """Bins in blocks, whole frames."""
    return Localizer(DATA / "bundle_v2", decode=request.param, threads=1, max_tokens=60)


@pytest.fixture(scope="module")
def camera(clip: list[Frame]) -> Camera:
    height, width = clip[0].shape[:2]
    return Camera(600, 600, width / 2, height / 2, width, height)


def tokens(pose: Pose) -> list[tuple[int, ...]]:
    return [pose.token_ids, *(keypoint.token_ids for keypoint in pose)]


def expect_same(got: Sequence[Pose], expected: Sequence[Pose]) -> None:
    """Tokens and what is read off them exactly; what is computed from probabilities up to rounding."""
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert tokens(one) == tokens(other)
        assert one.names == other.names and one.valid.tolist() == other.valid.tolist()
        np.testing.assert_array_equal(one.xy, other.xy)
        np.testing.assert_array_equal(one.xyz, other.xyz)
        np.testing.assert_array_equal(one.box, other.box)
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)
        np.testing.assert_allclose(one.std, other.std, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(one.xyz_std, other.xyz_std, rtol=1e-3, atol=1e-5)


def boxes_of(located: Localization) -> list[tuple[float, ...]]:
    return [pose.box for pose in located]


def test_crops_say_what_locate_says(crops: Localizer, clip: list[Frame], box: tuple[float, ...]) -> None:
    seen = []
    for frame, located in zip(clip, crops.track(clip, boxes=[box], keypoints=KEYPOINTS), strict=True):
        again = crops.locate(frame, boxes=boxes_of(located), keypoints=KEYPOINTS)
        expect_same(located, again)
        assert again.drafts == Drafts(0, 0, located.drafts.free)
        assert located.passes.decode <= again.passes.decode + 1
        seen.append(located)
    first, still = seen[0], seen[1]
    assert boxes_of(first) == boxes_of(still) == [box]
    assert first.drafts.offered == 0 and first.passes.decode > 0
    assert still.passes.decode == 0
    assert still.drafts == Drafts(first.drafts.free, first.drafts.free, first.drafts.free)


def test_frames_say_what_locate_says(whole: Localizer, clip: list[Frame], camera: Camera) -> None:
    located = list(whole.track(clip, keypoints=["head", "left_wrist"], camera=camera))
    for frame, poses in zip(clip, located, strict=True):
        expect_same(poses, whole.locate(frame, keypoints=["head", "left_wrist"], camera=camera))
    assert located[1].passes.decode == located[-1].passes.decode == 0
    assert sum(poses.drafts.accepted for poses in located[2:5]) > 0


def test_commands_say_what_ask_says(whole: Localizer, clip: list[Frame], camera: Camera) -> None:
    for frame, poses in zip(clip, whole.track(clip, command="Wave.", camera=camera), strict=True):
        expect_same(poses, whole.ask(frame, "Wave.", camera=camera))
    assert poses.passes.to_json() == {"vision": 1, "prefix": 1, "suffix": 1, "decode": 0}


def test_people_come_and_go(crops: Localizer, clip: list[Frame], box: tuple[float, ...]) -> None:
    other = (10.0, 40.0, 300.0, 300.0)
    boxes: list[Any] = [[box], [other, box], [], [box], [other], None]
    clip = clip[: len(boxes)]
    located = list(crops.track(clip, boxes=iter(boxes), keypoints=["nose"]))
    for frame, poses, given in zip(clip, located, boxes, strict=True):
        if given is not None:
            assert boxes_of(poses) == [tuple(map(float, one)) for one in given]
        if poses:
            expect_same(poses, crops.locate(frame, boxes=boxes_of(poses), keypoints=["nose"]))
    # Who stayed was known though their place in the list is another; who is new had no draft.
    assert 0 < located[1].drafts.offered <= located[0].drafts.free
    assert located[2] == [] and located[2].passes.vision == 0
    assert located[3].drafts.offered == 0


def test_another_crop_says_the_same_place_in_other_digits(
    crops: Localizer, clip: list[Frame], box: tuple[float, ...]
) -> None:
    boxes = [box, (box[0] - 14, box[1] + 9, box[2] + 20, box[3] + 31), box]
    located = list(crops.track(clip[:1] * 3, boxes=[[one] for one in boxes], keypoints=KEYPOINTS))
    for poses, given in zip(located, boxes, strict=True):
        expect_same(poses, crops.locate(clip[0], boxes=[given], keypoints=KEYPOINTS))
    assert all(poses.drafts.offered > 0 for poses in located[1:])


def test_boxes_may_be_a_function_of_the_frame(
    crops: Localizer, clip: list[Frame], box: tuple[float, ...]
) -> None:
    calls: list[tuple[int, tuple[int, ...], Localization | None]] = []

    def find(number: int, pixels: Frame, last: Localization | None) -> list[tuple[float, ...]] | None:
        calls.append((number, pixels.shape, last))
        return [box] if number == 0 else None

    frames = [ASSETS / "person.jpg", clip[1]]
    located = list(crops.track(frames, boxes=find, keypoints=["nose"]))
    assert [number for number, _, _ in calls] == [0, 1]
    assert calls[0][1] == clip[0].shape
    assert calls[0][2] is None and calls[1][2] is located[0]


def test_frames_come_one_at_a_time(crops: Localizer, clip: list[Frame], box: tuple[float, ...]) -> None:
    taken: list[int] = []
    progress: list[tuple[str, int, int]] = []

    def frames() -> Any:
        for number, frame in enumerate(clip):
            taken.append(number)
            yield frame

    track = crops.track(
        frames(), boxes=[box], keypoints=["nose"], progress=lambda *call: progress.append(call)
    )
    assert taken == []
    next(track)
    assert taken == [0] and progress == [("track", 1, 0)]
    # The localizer may be used in between.
    crops.locate(clip[3], boxes=[box], keypoints=["left knee"])
    located = next(track)
    assert located.passes.decode == 0
    known = crops.track(
        clip[:2], boxes=[box], keypoints=["nose"], progress=lambda *call: progress.append(call)
    )
    assert len(list(known)) == 2 and progress[-1] == ("track", 2, 2)


def test_json_names_drafts_where_there_were_some(
    crops: Localizer, clip: list[Frame], box: tuple[float, ...]
) -> None:
    first, second = crops.track(clip[:2], boxes=[box], keypoints=["nose"])
    assert "drafts" not in first.to_json()
    assert second.to_json()["drafts"] == second.drafts.to_json()
    free = second.drafts.free
    assert second.drafts.to_json() == {"offered": free, "accepted": free, "free": free}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"\[boxes\] expected at least one"),
        ({"boxes": []}, r"\[boxes\] expected at least one.*first frame"),
        ({"boxes": 5}, r"\[boxes\].*got 5"),
        ({"boxes": (0, 0, 9, 9)}, r"\[boxes\].*a single one; pass boxes=\[box\]"),
        ({"boxes": [(0, 0, 9)]}, r"got \(0, 0, 9\)"),
        ({"boxes": [(0, 0, 9, 9)], "command": "Wave."}, r"\[track\].*'Wave.' beside"),
        ({"keypoints": ["nose"], "command": "Wave."}, r"\[track\].*beside \['nose'\]"),
    ],
)
def test_refusals(clip: list[Frame], crops: Localizer, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        next(iter(crops.track(clip, **arguments)))


def test_frames_bundles_take_no_boxes(whole: Localizer, clip: list[Frame], camera: Camera) -> None:
    with pytest.raises(InvalidInputError, match=r"\[boxes\] expected none"):
        next(whole.track(clip, boxes=[(0, 0, 9, 9)], camera=camera))


def test_a_draft_says_the_same_place_in_another_crop(clip: list[Frame], box: tuple[float, ...]) -> None:
    bundle = Bundle.open(DATA / "bundle_v1")
    spec = bundle.manifest.codec
    assert isinstance(spec, DigitCodecSpec)
    questions = KeypointQuestions(bundle, spec, exact=False)
    wider = (box[0] - 14, box[1] + 9, box[2] + 20, box[3] + 31)
    one, other = (
        questions.locate(clip[0], boxes=[given], keypoints=KEYPOINTS, camera=None)[0]
        for given in (box, wider)
    )
    assert one.crop is not None and other.crop is not None

    def say(number: int) -> Answer:
        digits = [spec.digits[int(digit)] for digit in f"{number:03d}"]
        tokens = [spec.open, spec.zero, spec.point, *digits, spec.comma, spec.zero, spec.point, *digits]
        return Answer([Choice(token) for token in (*tokens, spec.close)], True)

    pose = one.read([say(412), say(77), say(999)])
    assert [list(tokens) for tokens in one.draft(pose, one.crop)] == [list(k.token_ids) for k in pose]
    drafts = other.draft(pose, one.crop)
    again = other.read([Answer([Choice(token) for token in draft], True) for draft in drafts])
    # Half a step of the digits; the last keypoint is cut off at the edge of the crop.
    np.testing.assert_allclose(again.xy[:2], pose.xy[:2], atol=0.5e-3 * other.crop.side + 1e-6)
    unanswered = dataclasses.replace(
        pose, keypoints=(dataclasses.replace(pose[0], valid=False), *pose.keypoints[1:2])
    )
    first, _, last = other.draft(unanswered, one.crop)
    assert tuple(first) == pose[0].token_ids and last == ()
