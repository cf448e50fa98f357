# SPDX-License-Identifier: Apache-2.0
"""Metrics against cases counted by hand, OpenCV's similarity and pycocotools' OKS."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.errors import InvalidInputError
from edgepose.evaluation.metrics import (
    COCO_SIGMAS,
    align_at,
    align_mean,
    align_similarity,
    distances,
    oks,
    pck,
    spread,
)

NAN = float("nan")


def test_distances() -> None:
    far = distances([[0, 0], [1, 1], [NAN, 2]], [[3, 4], [1, 1], [0, 0]])
    np.testing.assert_array_equal(far, [5, 0, NAN])
    with pytest.raises(InvalidInputError, match=r"got shapes \(2,\) and \(3,\)"):
        distances([1, 2], [1, 2, 3])


def test_pck_by_hand() -> None:
    # Sizes 10 and 20: thresholds of 5 and 10 px. The third joint of the first person is not labelled.
    distance = [[5.0, 5.1, 0.0], [9.0, NAN, 30.0]]
    found = pck(distance, [10.0, 20.0], [[True, True, False], [True, True, True]], 0.5)
    assert found.joints.tolist() == [1.0, 0.0, 0.0]
    assert found.counts.tolist() == [2, 2, 1]
    assert found.mean == 2 / 5
    first = pck(distance, [10.0, 20.0], [[True, True, False], [True, True, True]], 0.5, [True, False, False])
    assert first.mean == 1.0


def test_pck_leaves_out_who_has_no_size() -> None:
    found = pck([[0.0], [0.0], [9.0]], [NAN, 0.0, 10.0], [[True]] * 3, 0.5)
    assert found.counts.tolist() == [1] and found.mean == 0.0
    nobody = pck([[0.0]], [NAN], [[True]], 0.5)
    assert math.isnan(nobody.mean) and np.isnan(nobody.joints).all()


def test_oks_by_hand() -> None:
    # One keypoint off by sigma * 2 * sqrt(area): exp(-1 / 2); another exactly there.
    truth, answer = np.zeros((17, 2)), np.zeros((17, 2))
    answer[0, 0] = 2 * 0.026 * 10
    labelled = np.zeros(17, bool)
    labelled[:2] = True
    assert oks(answer, truth, labelled, 100.0) == pytest.approx((math.exp(-0.5) + 1) / 2)
    answer[1] = NAN
    assert oks(answer, truth, labelled, 100.0) == pytest.approx(math.exp(-0.5) / 2)
    assert math.isnan(oks(answer, truth, np.zeros(17, bool), 100.0))


def test_oks_is_that_of_pycocotools() -> None:
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    np.testing.assert_allclose(COCO_SIGMAS, cocoeval.Params("keypoints").kpt_oks_sigmas)
    generator = np.random.default_rng(0)
    for _ in range(5):
        truth, answer = generator.uniform(0, 50, (2, 17, 3))
        truth[:, 2] = generator.integers(0, 3, 17)
        truth[0, 2] = 2
        area = float(generator.uniform(50, 900))
        evaluation = cocoeval.COCOeval(iouType="keypoints")
        person: dict[str, Any] = {"area": area, "bbox": [0, 0, 9, 9], "num_keypoints": 17, "ignore": 0}
        evaluation._gts[1, 1] = [{**person, "keypoints": truth.ravel().tolist()}]
        evaluation._dts[1, 1] = [{"score": 1.0, "keypoints": answer.ravel().tolist()}]
        theirs = evaluation.computeOks(1, 1)[0, 0]
        assert oks(answer[:, :2], truth[:, :2], truth[:, 2] > 0, area) == pytest.approx(theirs, rel=1e-9)


def test_spread_by_hand() -> None:
    found = spread([1.0, 2.0, 6.0, NAN, 100.0], [True, True, True, True, False])
    assert (found.mean, found.median, found.answered, found.labelled) == (3.0, 2.0, 0.75, 4)
    silent = spread([NAN, NAN], [True, True])
    assert math.isnan(silent.mean) and silent.answered == 0.0
    assert math.isnan(spread([1.0], [False]).answered)


def test_align_at_root_and_mean() -> None:
    truth = np.array([[0.0, 0, 1], [1, 0, 1], [0, 2, 1]])
    moved = truth + (0.3, -0.1, 0.5)
    np.testing.assert_allclose(align_at(moved, truth, 1), truth, atol=1e-12)
    np.testing.assert_allclose(align_mean(moved, truth, [True] * 3), truth, atol=1e-12)
    moved[2] = NAN
    np.testing.assert_allclose(align_mean(moved, truth, [True] * 3)[:2], truth[:2], atol=1e-12)
    assert np.isnan(align_at(moved, truth, 2)).all()
    assert np.isnan(align_mean(moved, truth, [False, False, True])).all()


@given(st.integers(0, 10_000))
def test_similarity_undoes_a_similarity(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(17, 3))
    rotation = cv2.Rodrigues(generator.normal(size=3))[0]
    answer = generator.uniform(0.3, 3) * truth @ rotation.T + generator.normal(size=3)
    np.testing.assert_allclose(align_similarity(answer, truth, [True] * 17), truth, atol=1e-9)


def test_similarity_of_noisy_joints_is_opencvs() -> None:
    generator = np.random.default_rng(1)
    for count in (4, 17):
        truth = generator.normal(size=(count, 3))
        answer = truth[:, [1, 2, 0]] * 1.7 + generator.normal(size=(count, 3)) * 0.3 + 2
        affine, scale = cv2.estimateAffine3D(answer, truth, force_rotation=True)
        theirs = scale * answer @ affine[:, :3].T + affine[:, 3]
        aligned = align_similarity(answer, truth, [True] * count)
        np.testing.assert_allclose(aligned, theirs, atol=1e-6)


def test_similarity_does_not_mirror_and_no_other_scale_is_closer() -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=(9, 3))
    mirrored = truth * (-1, 1, 1)
    left = distances(align_similarity(mirrored, truth, [True] * 9), truth)
    assert left.mean() > 0.1
    aligned = align_similarity(mirrored, truth, [True] * 9)
    center = truth.mean(axis=0)
    squared = [(distances((aligned - center) * s + center, truth) ** 2).sum() for s in (0.99, 1.0, 1.01)]
    assert min(squared) == squared[1]


def test_similarity_uses_what_is_labelled_and_answered() -> None:
    generator = np.random.default_rng(3)
    truth = generator.normal(size=(6, 3))
    answer = 2 * truth + 1
    answer[4], answer[5] = (100, 100, 100), NAN
    labelled = np.array([True, True, True, True, False, True])
    aligned = align_similarity(answer, truth, labelled)
    np.testing.assert_allclose(aligned[:4], truth[:4], atol=1e-9)
    assert np.isnan(aligned[5]).all()
    assert np.isnan(align_similarity(answer, truth, np.arange(6) == 0)).all()
    assert np.isnan(align_similarity(np.ones((6, 3)), truth, [True] * 6)).all()
