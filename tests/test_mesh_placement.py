# SPDX-License-Identifier: Apache-2.0
"""Placing bodies: against OpenCV's and trimesh's registrations, closed forms and drawn errors."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.keypoint import Keypoint
from edgepose.mesh import MHR70, place_body
from edgepose.pose import Pose
from edgepose.skeleton import SMPL22

from . import capsule_body

NAMES = SMPL22.keypoints
BODY = capsule_body.joints()
CLOUD = np.random.default_rng(0).normal(size=(50, 3))
AWAY = np.array([0.2, -0.1, 1.8])


def pose_of(
    places: NDArray[np.float64],
    names: Any = NAMES,
    std: Any = None,
    valid: Any = None,
) -> Pose:
    """A metric pose with these places, `std` metres alike on all axes or (K, 3)."""
    spread = np.full(places.shape, np.nan) if std is None else np.broadcast_to(std, places.shape)
    return Pose(
        (math.nan,) * 4,
        tuple(
            Keypoint(
                name, np.zeros(2), 0.9, xyz=xyz, xyz_std=s, metric=True, valid=True if valid is None else v
            )
            for name, xyz, s, v in zip(names, places, spread, valid or [True] * len(places), strict=True)
        ),
    )


def turned(vector: Any) -> NDArray[np.float64]:
    return np.asarray(cv2.Rodrigues(np.array(vector, dtype=np.float64))[0])


def test_a_translation_is_the_weighted_mean_of_differences() -> None:
    rng = np.random.default_rng(1)
    std = rng.uniform(0.005, 0.05, (22, 3))
    seen = BODY + AWAY + rng.normal(size=(22, 3)) * std
    placed = place_body(BODY, CLOUD, pose_of(seen, std=std))
    weights = 1 / (std**2).mean(axis=1)
    expected = np.average(seen - BODY, axis=0, weights=weights)
    np.testing.assert_allclose(placed.translation, expected, atol=1e-12)
    np.testing.assert_allclose(placed.vertices, CLOUD + expected)
    np.testing.assert_allclose(placed.joints, BODY + expected)
    np.testing.assert_allclose(placed.residuals, np.linalg.norm(BODY + expected - seen, axis=1))
    assert placed.scale == 1 and np.array_equal(placed.rotation, np.eye(3)) and placed.used == NAMES
    own = place_body(BODY, CLOUD, pose_of(seen), weights=weights)
    np.testing.assert_allclose(own.translation, expected)


@pytest.mark.parametrize("scale", [False, True])
def test_rotation_and_scale_are_those_of_opencv(scale: bool) -> None:
    """estimateAffine3D with force_rotation solves the same problem, unweighted, with a scale."""
    rng = np.random.default_rng(2)
    true_scale = 1.3 if scale else 1.0
    seen = true_scale * BODY @ turned((0.3, -1.2, 0.5)).T + AWAY + rng.normal(size=(22, 3)) * 0.02
    placed = place_body(BODY, CLOUD, pose_of(seen), rotate=True, scale=scale)
    affine, found_scale = cv2.estimateAffine3D(BODY, seen, force_rotation=True)
    np.testing.assert_allclose(placed.rotation, affine[:, :3], atol=1e-9)
    if scale:
        assert placed.scale == pytest.approx(found_scale)
        np.testing.assert_allclose(placed.translation, affine[:, 3], atol=1e-9)
    assert np.linalg.det(placed.rotation) == pytest.approx(1)
    np.testing.assert_allclose(
        placed.vertices, placed.scale * CLOUD @ placed.rotation.T + placed.translation, atol=1e-12
    )


@pytest.mark.parametrize("scale", [False, True])
def test_a_joint_of_weight_three_is_three_joints(scale: bool) -> None:
    """trimesh and OpenCV know no weights that are best for rotations, but take a joint more than once."""
    registration = pytest.importorskip("trimesh.registration")
    rng = np.random.default_rng(3)
    times = rng.integers(0, 6, 22)
    seen = BODY @ turned((-0.4, 0.8, 2.5)).T + AWAY + rng.normal(size=(22, 3)) * 0.03
    placed = place_body(BODY, CLOUD, pose_of(seen), rotate=True, scale=scale, weights=times * 1000.0)
    source, target = np.repeat(BODY, times, axis=0), np.repeat(seen, times, axis=0)
    if scale:
        affine, factor = cv2.estimateAffine3D(source, target, force_rotation=True)
        assert placed.scale == pytest.approx(factor)
        rotation, translation = affine[:, :3], affine[:, 3]
    else:
        matrix = registration.procrustes(source, target, reflection=False, scale=False, return_cost=False)
        rotation, translation = matrix[:3, :3], matrix[:3, 3]
    np.testing.assert_allclose(placed.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(placed.translation, translation, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.booleans(),
    st.floats(0.5, 2),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.sets(st.integers(0, 21), max_size=15),
)
def test_without_noise_the_body_is_found_again(
    seed: int, scale: bool, rotate: bool, factor: float, vector: tuple[float, ...], missing: set[int]
) -> None:
    rng = np.random.default_rng(seed)
    rotation = turned(vector) if rotate else np.eye(3)
    factor = factor if scale else 1.0
    seen = factor * BODY @ rotation.T + AWAY
    seen[list(missing)] = np.nan
    std = rng.uniform(0.002, 0.1, 22)[:, None]
    placed = place_body(BODY, CLOUD, pose_of(seen, std=std), scale=scale, rotate=rotate)
    np.testing.assert_allclose(placed.translation, AWAY, atol=1e-6)
    np.testing.assert_allclose(placed.rotation, rotation, atol=1e-6)
    assert placed.scale == pytest.approx(factor)
    assert placed.used == tuple(n for i, n in enumerate(NAMES) if i not in missing)
    assert set(np.flatnonzero(np.isnan(placed.residuals))) == missing
    assert np.nanmax(placed.residuals) < 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_nothing_near_fits_better(seed: int, scale: bool, rotate: bool) -> None:
    rng = np.random.default_rng(seed)
    std = rng.uniform(0.005, 0.1, 22)
    seen = BODY + AWAY + rng.normal(size=(22, 3)) * 0.05
    placed = place_body(BODY, CLOUD, pose_of(seen, std=std[:, None]), scale=scale, rotate=rotate)

    def cost(factor: float, rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> float:
        off = factor * BODY @ rotation.T + translation - seen
        return float(((off**2).sum(axis=1) / std**2).sum())

    best = cost(placed.scale, placed.rotation, placed.translation)
    for _ in range(20):
        step = rng.normal(size=7) * 1e-3
        factor = placed.scale * (1 + step[0]) if scale else 1.0
        rotation = turned(step[1:4]) @ placed.rotation if rotate else placed.rotation
        assert cost(factor, rotation, placed.translation + step[4:]) >= best


@pytest.mark.parametrize(("scale", "rotate"), [(False, False), (True, False), (True, True)])
def test_the_spread_is_that_of_drawn_errors(scale: bool, rotate: bool) -> None:
    rng = np.random.default_rng(5)
    some = [0, 4, 12, 16, 18, 20]
    std = rng.uniform(0.01, 0.04, len(some))
    names = [NAMES[i] for i in some]
    body = BODY + (0.3, 0.2, 0.1)  # an origin away from the joints: scale and rotation move it too
    placed = [
        place_body(
            body,
            CLOUD[:1],
            pose_of(body[some] + AWAY + rng.normal(size=(len(some), 3)) * std[:, None], names, std[:, None]),
            scale=scale,
            rotate=rotate,
        )
        for _ in range(1500)
    ]
    drawn = np.std([p.translation for p in placed], axis=0)
    told = np.median([p.translation_std for p in placed], axis=0)
    np.testing.assert_allclose(told, drawn, rtol=0.3)
    assert (told >= 0.95 * drawn).all()  # larger residuals make it larger, never smaller


def test_one_joint_is_known_as_its_keypoint_is() -> None:
    placed = place_body(BODY, CLOUD, pose_of(BODY[:1] + AWAY, NAMES[:1], 0.02))
    np.testing.assert_allclose(placed.translation, AWAY)
    np.testing.assert_allclose(placed.translation_std, 0.02)
    assert placed.used == ("pelvis",)
    sure = place_body(BODY, CLOUD, pose_of(BODY[:1] + AWAY, NAMES[:1], 0.0))
    np.testing.assert_allclose(sure.translation_std, 0.0015)  # no better than a bin


def test_residuals_that_are_too_large_count() -> None:
    rng = np.random.default_rng(6)
    seen = BODY + AWAY + rng.normal(size=(22, 3)) * 0.05
    told = place_body(BODY, CLOUD, pose_of(seen, std=0.005)).translation_std
    np.testing.assert_allclose(told, 0.05 / math.sqrt(22), rtol=0.3)
    exact = place_body(BODY, CLOUD, pose_of(BODY + AWAY, std=0.005)).translation_std
    np.testing.assert_allclose(exact, 0.005 / math.sqrt(22))


def test_unknown_spreads_count_as_the_median() -> None:
    std = np.full((22, 1), 0.02)
    std[3] = np.nan
    seen = BODY + AWAY + np.random.default_rng(7).normal(size=(22, 3)) * 0.01
    np.testing.assert_allclose(
        place_body(BODY, CLOUD, pose_of(seen, std=std)).translation, (seen - BODY).mean(axis=0)
    )


def test_what_is_missing_or_doubtful_is_left_out() -> None:
    seen = BODY + AWAY
    wrong = seen.copy()
    wrong[20] += 1.0
    placed = place_body(BODY, CLOUD, pose_of(wrong, valid=[i != 20 for i in range(22)]))
    np.testing.assert_allclose(placed.translation, AWAY)
    assert "left_wrist" not in placed.used and np.isnan(placed.residuals[20])
    holes = BODY.copy()
    holes[5] = np.nan
    placed = place_body(holes, CLOUD, pose_of(seen))
    assert len(placed.used) == 21 and np.isnan(placed.joints[5]).all()
    weights = np.ones(22)
    weights[20] = 0
    np.testing.assert_allclose(place_body(BODY, CLOUD, pose_of(wrong), weights=weights).translation, AWAY)


def test_names_of_other_models() -> None:
    rows = np.full((70, 3), 9.0)
    for name, row in MHR70.items():
        rows[row] = BODY[NAMES.index(name)]
    seen = pose_of(BODY + AWAY)
    placed = place_body(rows, CLOUD, seen, names=MHR70, rotate=True, scale=True)
    np.testing.assert_allclose(placed.translation, AWAY, atol=1e-9)
    assert set(placed.used) == set(MHR70) and len(MHR70) == 13 and set(MHR70) <= set(NAMES)
    arm = ["left shoulder", "left elbow", "left wrist"]  # as other sets spell them
    some = BODY[[16, 18, 20]]
    np.testing.assert_allclose(place_body(some, CLOUD, seen, names=arm).translation, AWAY)


def test_repr_says_where() -> None:
    text = repr(place_body(BODY, CLOUD, pose_of(BODY + AWAY)))
    assert text == (
        "PlacedBody(50 vertices at (0.200, -0.100, 1.800) m, scale=1.000, 22 joints within 0.000 m rms)"
    )


LINE = np.outer(np.linspace(0, 1, 22), [0.1, 0.9, 0.2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(joints=BODY[:21]), "a name for each of the 21 joints, no name twice; got 22"),
        (dict(joints=BODY[0]), r"joints of shape \(N, 3\), at least one; got shape \(3,\)"),
        (dict(joints="body"), r"joints of shape \(N, 3\); got 'body'"),
        (dict(joints=np.full((22, 3), np.inf)), r"finite joints; got \[inf, inf, inf\] in row 0 of 22"),
        (dict(joints=np.full((22, 3), np.nan)), "at least 1 joints .* for translation; got none"),
        (dict(vertices=np.zeros((0, 3))), r"vertices of shape \(N, 3\), at least one; got shape \(0, 3\)"),
        (dict(vertices=[[0, math.nan, 0]]), "finite vertices; got .*nan.* in row 0 of 1"),
        (dict(names=["head"] * 22), "no name twice; got 22: head, head"),
        (dict(names={"head": 22}), r"names of rows 0 to 21; got \{'head': 22\}"),
        (dict(pose=pose_of(BODY[:0], ())), "at least 1 joints .* got none; ask for more keypoints"),
        (dict(pose=pose_of(BODY[:1], ["tail"])), "got none"),
        (dict(pose=pose_of(BODY, valid=[False] * 22)), "got none"),
        (dict(pose=pose_of(BODY[:1], NAMES[:1]), scale=True), r"at least 2 .*, scale; got 1 \(pelvis\)"),
        (dict(pose=pose_of(BODY[:2], NAMES[:2]), rotate=True), "at least 3 joints .* for translation, rotat"),
        (dict(pose=pose_of(BODY[:2] * 0, NAMES[:2]), scale=True), "the pose's 2 .* spread 0 m"),
        (dict(joints=BODY * 1e-3, scale=True), "the body's 22 .* spread"),
        (dict(joints=LINE, pose=pose_of(LINE), rotate=True), "not in one line .* the body's"),
        (dict(pose=pose_of(LINE), rotate=True), "not in one line .* the pose's"),
        (dict(pose=pose_of(-BODY), scale=True), r"a scale above 0; got -1 .*rotate=True"),
        (dict(weights="sure"), "'uncertainty' or an array; got 'sure'"),
        (dict(weights=[1.0]), r"expected 22 finite weights .*; got \[1.0\]"),
        (dict(weights=-np.ones(22)), "expected 22 finite weights of at least 0"),
        (dict(weights=np.zeros(22)), "got none"),
    ],
)
def test_unusable_bodies(arguments: dict[str, Any], message: str) -> None:
    usable: dict[str, Any] = {"joints": BODY, "vertices": CLOUD, "pose": pose_of(BODY + AWAY)}
    with pytest.raises(InvalidInputError, match=message):
        place_body(**{**usable, **arguments})
