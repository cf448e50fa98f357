# SPDX-License-Identifier: Apache-2.0
"""Results: look-up, arrays, JSON and COCO forms."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.keypoints import COCO17, MPII16
from edgepose.results import Keypoint, Localization, Passes, Pose


def keypoint(
    name: str, x: float = 1.0, y: float = 2.0, confidence: float = 0.5, valid: bool = True
) -> Keypoint:
    return Keypoint(
        name=name,
        xy=np.array([x, y]),
        confidence=confidence,
        std=np.array([0.25, 0.5]),
        valid=valid,
        expected_xy=np.array([x + 0.1, y]),
        token_ids=(518, 29900),
        text=" [0",
    )


@pytest.fixture
def pose() -> Pose:
    return Pose(
        box=(10.0, 20.0, 30.0, 40.0),
        keypoints=(
            keypoint("left wrist", 11, 22, 0.75),
            keypoint("head_top", 13, 24, 0.25),
            keypoint("nose", math.nan, math.nan, 0.5, valid=False),
        ),
    )


def test_look_up(pose: Pose) -> None:
    assert pose["left wrist"] is pose["left_wrist"] is pose[0] is pose.keypoints[0]
    assert pose["head_top"] is pose["head top"] is pose[1]
    assert pose[-1].name == "nose"
    assert [k.name for k in pose] == list(pose.names) == ["left wrist", "head_top", "nose"]
    assert len(pose) == 3 and "left_wrist" in pose and "tail" not in pose and 0 not in pose
    with pytest.raises(KeyError, match="no keypoint 'tail' in this pose; it has left wrist, head_top, nose"):
        pose["tail"]
    with pytest.raises(IndexError):
        pose[3]


def test_arrays(pose: Pose) -> None:
    assert pose.xy.shape == pose.std.shape == (3, 2) and pose.xy.dtype == np.float64
    np.testing.assert_array_equal(pose.xy, [[11, 22], [13, 24], [math.nan, math.nan]])
    assert pose.confidence.tolist() == [0.75, 0.25, 0.5]
    assert pose.valid.tolist() == [True, True, False]
    assert pose.score == 0.5
    empty = Pose((0, 0, 1, 1), ())
    assert empty.xy.shape == (0, 2) and math.isnan(empty.score)


def test_values_are_frozen(pose: Pose) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        pose.box = (0.0, 0.0, 1.0, 1.0)  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        pose[0].xy[0] = 3
    source = np.array([1.0, 2.0])
    made = Keypoint("nose", source, 0.5)
    source[0] = 9
    assert made.xy.tolist() == [1.0, 2.0] and np.isnan(made.std).all() and np.isnan(made.expected_xy).all()


def test_shapes_are_checked() -> None:
    with pytest.raises(InvalidInputError, match=r"'nose'\] expected xy of shape \(2,\); got shape \(3,\)"):
        Keypoint("nose", np.zeros(3), 0.5)
    with pytest.raises(InvalidInputError, match=r"expected std of shape \(2,\)"):
        Keypoint("nose", np.zeros(2), 0.5, std=np.zeros((1, 2)))
    with pytest.raises(InvalidInputError, match=r"got \(1, 2, 3\)"):
        Pose((1, 2, 3), ())


def test_repr_is_short(pose: Pose) -> None:
    assert repr(pose) == "Pose(2 of 3 keypoints, score=0.50, box=(10, 20, 30, 40) px)"
    assert repr(pose[0]) == "Keypoint('left wrist', xy=(11.0, 22.0) px, std=(0.2, 0.5) px, confidence=0.75)"
    assert repr(pose[2]) == "Keypoint('nose', not answered)"
    text = repr(Localization([pose], timings_ms={"total": 12.4}))
    assert text.startswith("Localization([Pose(") and text.endswith("12 ms)")


def test_json_has_the_documented_form(pose: Pose) -> None:
    located = Localization([pose], passes=Passes(1, 1, 1, 5), timings_ms={"vision": 1.5, "total": math.inf})
    value = json.loads(json.dumps(located.to_json(), allow_nan=False))
    assert list(value) == ["poses", "passes", "timings_ms"]
    assert value["passes"] == {"vision": 1, "prefix": 1, "suffix": 1, "decode": 5}
    assert value["timings_ms"] == {"vision": 1.5, "total": None}
    (person,) = value["poses"]
    assert list(person) == ["box", "score", "keypoints"]
    assert person["box"] == [10, 20, 30, 40] and person["score"] == 0.5
    assert person["keypoints"][0] == {
        "name": "left wrist",
        "xy": [11, 22],
        "confidence": 0.75,
        "std": [0.25, 0.5],
        "valid": True,
    }
    assert person["keypoints"][2]["xy"] == [None, None] and person["keypoints"][2]["valid"] is False
    traced = located.to_json(trace=True)["poses"][0]["keypoints"][0]
    assert traced["token_ids"] == [518, 29900] and traced["text"] == " [0"


def test_a_depth_is_part_of_what_has_one(pose: Pose) -> None:
    assert np.isnan(pose.depth).all() and np.isnan(pose.depth_std).all()
    assert "depth" not in pose[0].to_json(trace=True) and "depth_std" not in pose[0].to_json()
    deep = dataclasses.replace(pose[0], depth=-24.69, depth_std=1.5, dimensions=3)
    assert deep.to_json()["depth"] == -24.69 and deep.to_json()["depth_std"] == 1.5
    assert "std=(0.2, 0.5) px, depth=-25 mm, confidence" in repr(deep)
    unanswered = dataclasses.replace(pose[2], dimensions=3)
    assert unanswered.to_json()["depth"] is None and unanswered.to_json()["depth_std"] is None
    both = Pose(pose.box, (deep, unanswered))
    np.testing.assert_array_equal(both.depth, [-24.69, math.nan])
    np.testing.assert_array_equal(both.depth_std, [1.5, math.nan])
    with pytest.raises(InvalidInputError, match="no depth in 2 dimensions; got depth 5.0 mm"):
        Keypoint("nose", np.zeros(2), 0.5, depth=5.0)


def test_coco_form() -> None:
    points = [keypoint(name, i, 2 * i, i / 16) for i, name in enumerate(COCO17.keypoints)]
    points[3] = keypoint("left ear", math.nan, math.nan, math.nan, valid=False)
    value = json.loads(json.dumps(Pose((0, 0, 9, 9), tuple(points)).to_coco(image_id=42), allow_nan=False))
    assert value["image_id"] == 42 and value["category_id"] == 1
    assert len(value["keypoints"]) == 51
    assert value["keypoints"][6:12] == [2, 4, 2 / 16, 0, 0, 0]
    assert value["score"] == 0.0  # one confidence is unknown
    points[3] = keypoint("left ear", 1, 1, 3 / 16)
    assert Pose((0, 0, 9, 9), tuple(points)).to_coco(image_id=1)["score"] == pytest.approx(0.5)


def test_coco_form_needs_coco_keypoints(pose: Pose) -> None:
    with pytest.raises(
        InvalidInputError, match="expected the 17 keypoints of coco17 in order; got 3: left wrist"
    ):
        pose.to_coco(image_id=1)
    shuffled = Pose((0, 0, 1, 1), tuple(keypoint(n) for n in reversed(COCO17.keypoints)))
    with pytest.raises(InvalidInputError, match="in order"):
        shuffled.to_coco(image_id=1)
    with pytest.raises(InvalidInputError, match='keypoints="coco17"'):
        Pose((0, 0, 1, 1), tuple(keypoint(n) for n in MPII16.keypoints)).to_coco(image_id=1)


def place(name: str, xyz: tuple[float, float, float], **fields: Any) -> Keypoint:
    return Keypoint(name, np.array([1.0, 2.0]), 0.5, xyz=np.array(xyz), **fields)


def test_a_place_in_metres_is_part_of_what_has_one(pose: Pose) -> None:
    assert np.isnan(pose.xyz).all() and pose.xyz.shape == (3, 3) and not pose[0].metric
    assert {"xyz", "xyz_std", "reprojection_error"}.isdisjoint(pose[0].to_json(trace=True))
    wrist = place(
        "left_wrist", (0.1, -0.2, 1.5), xyz_std=np.array([0.01, 0.02, 0.03]), reprojection_error=2.5
    )
    assert wrist.metric and dataclasses.replace(wrist, name="x").metric
    assert pickle.loads(pickle.dumps(wrist)).metric and not pickle.loads(pickle.dumps(pose[0])).metric
    value = wrist.to_json()
    assert value["xyz"] == [0.1, -0.2, 1.5] and value["xyz_std"] == [0.01, 0.02, 0.03]
    assert value["reprojection_error"] == 2.5 and "depth" not in value
    missing = Keypoint("nose", np.full(2, np.nan), math.nan, valid=False, metric=True)
    assert missing.to_json()["xyz"] == [None] * 3 and missing.to_json()["reprojection_error"] is None
    assert "xyz=(0.100, -0.200, 1.500) m, confidence" in repr(wrist) and "not answered" in repr(missing)
    at_the_end = dataclasses.replace(wrist, valid=False)
    assert repr(at_the_end).endswith("confidence=0.50, not valid)")
    both = Pose(pose.box, (wrist, missing))
    np.testing.assert_array_equal(both.xyz, [[0.1, -0.2, 1.5], [math.nan] * 3])
    np.testing.assert_array_equal(both.xyz_std, [[0.01, 0.02, 0.03], [math.nan] * 3])
    with pytest.raises(ValueError, match="read-only"):
        wrist.xyz[0] = 3
    for name in ("xyz", "xyz_std", "expected_xyz"):
        shape: dict[str, Any] = {name: np.zeros(2)}
        with pytest.raises(InvalidInputError, match=rf"expected {name} of shape \(3,\); got shape \(2,\)"):
            Keypoint("nose", np.zeros(2), 0.5, **shape)


def test_prompts_and_answers_are_traced(pose: Pose) -> None:
    whole = dataclasses.replace(
        pose, box_std=(1.0, math.nan, 2.0, 3.0), prompt_ids=(1, 2), token_ids=(3,), text="<261>"
    )
    assert whole.to_json()["box_std"] == [1.0, None, 2.0, 3.0] and "text" not in whole.to_json()
    traced = whole.to_json(trace=True)
    assert (traced["prompt_ids"], traced["token_ids"], traced["text"]) == ([1, 2], [3], "<261>")
    point = dataclasses.replace(pose[0], prompt_ids=(7,))
    assert point.to_json(trace=True)["prompt_ids"] == [7] and "prompt_ids" not in point.to_json()
    with pytest.raises(InvalidInputError, match=r"box_std of four numbers or none; got \(1.0,\)"):
        Pose(pose.box, (), box_std=(1.0,))


def motion(rotation_vector: Sequence[float], translation: Sequence[float]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.array(rotation_vector, dtype=np.float64))[0]
    matrix[:3, 3] = translation
    return matrix


@given(
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(-5, 5)] * 3),
    st.tuples(*[st.floats(-2.5, 2.5)] * 3),
)
def test_transform_moves_places_only(
    rotation: tuple[float, ...], translation: tuple[float, ...], xyz: tuple[float, float, float]
) -> None:
    std = np.array([0.01, 0.02, 0.05])
    before = Pose(
        (0, 0, 9, 9),
        (
            place("left_wrist", xyz, xyz_std=std, expected_xyz=np.array(xyz) + 0.001, std=np.ones(2)),
            Keypoint("head", np.full(2, np.nan), math.nan, valid=False, metric=True),
        ),
    )
    matrix = motion(rotation, translation)
    after = before.transform(matrix)
    moved = cv2.transform(np.array([[xyz, np.add(xyz, 0.001)]]), matrix[:3])[0]
    np.testing.assert_allclose([after[0].xyz, after[0].expected_xyz], moved, atol=1e-9)
    covariance = matrix[:3, :3] @ np.diag(std**2) @ matrix[:3, :3].T
    np.testing.assert_allclose(after[0].xyz_std, np.sqrt(np.diag(covariance)), atol=1e-12)
    assert np.isnan(after[1].xyz).all() and np.isnan(after[1].xyz_std).all() and after[1].metric
    np.testing.assert_array_equal(after.xy, before.xy)
    np.testing.assert_array_equal(after.std, before.std)
    assert after.box == before.box and after[0].confidence == before[0].confidence
    np.testing.assert_allclose(after.transform(np.linalg.inv(matrix))[0].xyz, xyz, atol=1e-9)


def test_the_spread_turns_with_the_axes() -> None:
    quarter = motion((0, 0, math.pi / 2), (0, 0, 0))
    point = place("left_wrist", (1, 0, 0), xyz_std=np.array([0.01, 0.02, 0.03]))
    turned = Pose((0, 0, 1, 1), (point,)).transform(quarter)[0]
    np.testing.assert_allclose(turned.xyz, [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turned.xyz_std, [0.02, 0.01, 0.03])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), r"got shape \(3, 3\)"),
        (None, "rigid motion|4, 4"),
        ([[1, 2], [3]], r"a \(4, 4\) matrix of numbers"),
        (np.diag([1, 1, 1, 2]), r"the last row \[0.0, 0.0, 0.0, 2.0\]"),
        (motion((0, 0, 0), (1, 2, 3)).T, r"last row \[1.0, 2.0, 3.0, 1.0\]; transpose it"),
        (np.diag([2, 2, 2, 1]), "scales or shears"),
        (np.diag([1, 1, -1, 1]), "mirrors; make the axes right-handed"),
        (np.diag([1, 1, math.nan, 1]), "pass finite numbers"),
    ],
)
def test_only_rigid_motions_transform(matrix: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Pose((0, 0, 1, 1), (place("head", (0, 0, 1)),)).transform(matrix)


def test_pixels_do_not_transform(pose: Pose) -> None:
    with pytest.raises(InvalidInputError, match="got Pose.2 of 3 keypoints.*in pixels only"):
        pose.transform(np.eye(4))
    assert len(Pose((0, 0, 1, 1), ()).transform(np.eye(4))) == 0


def test_localization_is_a_list_with_costs(pose: Pose) -> None:
    located = Localization()
    assert located == [] and located.passes == Passes() and located.timings_ms == {}
    located.append(pose)
    located.passes += Passes(1, 1, 1, 5)
    located.passes += Passes(1, 1, 1, 7)
    located.timings_ms["total"] = 3.0
    assert located.passes == Passes(2, 2, 2, 12)
    assert located[0] is pose and len(located) == 1 and isinstance(located, list)
    for other in (copy.copy(located), pickle.loads(pickle.dumps(located))):
        assert other.passes == located.passes and other.timings_ms == {"total": 3.0}
        assert other[0]["left wrist"].xy.tolist() == [11.0, 22.0]
