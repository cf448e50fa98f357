# SPDX-License-Identifier: Apache-2.0
"""Pictures: what is drawn, where, in which colour, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.drawing import draw_poses
from edgepose.errors import InvalidInputError
from edgepose.results import Keypoint, Localization, Pose

ORANGE, BLUE, GREEN = (255, 140, 26), (31, 160, 255), (80, 220, 120)


def blank(height: int = 400, width: int = 400) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def pose_of(
    points: dict[str, tuple[float, float]], std: Sequence[float] = (math.nan, math.nan), valid: bool = True
) -> Pose:
    return Pose(
        (20, 20, 360, 360),
        tuple(Keypoint(n, np.array(xy), 0.9, std=np.array(std), valid=valid) for n, xy in points.items()),
    )


ARM = {"left shoulder": (100.0, 100.0), "left elbow": (200.0, 100.0), "right shoulder": (100.0, 300.0),
       "right elbow": (200.0, 300.0), "nose": (300.0, 200.0)}  # fmt: skip


def test_points_and_bones_have_the_colour_of_their_side() -> None:
    image = blank()
    drawn = draw_poses(image, [pose_of(ARM)])
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == 128).all()  # the original stays
    assert tuple(drawn[100, 100]) == tuple(drawn[100, 150]) == ORANGE
    assert tuple(drawn[300, 200]) == tuple(drawn[300, 150]) == BLUE
    assert tuple(drawn[200, 300]) == tuple(drawn[200, 100]) == GREEN  # nose, and the line between shoulders
    assert (drawn[20, 20:380] != 128).any(axis=-1).all()  # the box


def test_spread_is_drawn_to_two_standard_deviations() -> None:
    spread = draw_poses(blank(), [pose_of({"nose": (200.0, 200.0)}, std=(30.0, 10.0))])
    sharp = draw_poses(blank(), [pose_of({"nose": (200.0, 200.0)})])
    changed = (spread != sharp).any(axis=-1)
    columns, rows = np.flatnonzero(changed.any(axis=0)), np.flatnonzero(changed.any(axis=1))
    assert abs(columns[0] - 140) <= 2 and abs(columns[-1] - 260) <= 2
    assert abs(rows[0] - 180) <= 2 and abs(rows[-1] - 220) <= 2
    without = draw_poses(blank(), [pose_of({"nose": (200.0, 200.0)}, std=(30.0, 10.0))], std=False)
    assert np.array_equal(without, sharp)


def test_unanswered_keypoints_are_left_out() -> None:
    box_only = draw_poses(blank(), [Pose((20, 20, 360, 360), ())])
    for missing in (pose_of(ARM, valid=False), pose_of({"nose": (math.nan, math.nan)})):
        assert np.array_equal(draw_poses(blank(), [missing]), box_only)


def test_labels_appear_where_no_skeleton_fits() -> None:
    thumb = pose_of({"left thumb": (200.0, 200.0)})
    labelled, bare = draw_poses(blank(), [thumb]), draw_poses(blank(), [thumb], labels=False)
    assert not np.array_equal(labelled, bare)
    skeleton = pose_of(ARM)
    assert np.array_equal(draw_poses(blank(), [skeleton]), draw_poses(blank(), [skeleton], labels=False))
    assert not np.array_equal(draw_poses(blank(), [skeleton]), draw_poses(blank(), [skeleton], labels=True))


@pytest.mark.parametrize("corner", [(0.0, 0.0), (399.0, 0.0), (0.0, 399.0), (399.0, 399.0)])
def test_labels_stay_inside(corner: tuple[float, float]) -> None:
    drawn = draw_poses(blank(), [pose_of({"left little finger": corner})], labels=True)
    assert (drawn > 150).all(axis=-1).sum() > 150  # the white letters are there


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (32, 48), (2000, 3000)])
def test_every_size_of_image(size: tuple[int, int]) -> None:
    height, width = size
    pose = Pose(
        (0, 0, width, height),
        (Keypoint("nose", np.array([width / 2, height / 2]), 1.0, std=np.array([width, 1e9])),),
    )
    drawn = draw_poses(blank(height, width), [pose], labels=True)
    assert drawn.shape == (height, width, 3)
    share = (drawn != 128).any(axis=-1).mean()
    assert share > 0.005  # lines keep their share of the picture, whatever its size


def test_line_width_grows_with_the_picture() -> None:
    widths = []
    for size in (400, 1600):
        pose = pose_of({n: (x * size / 400, y * size / 400) for n, (x, y) in ARM.items()})
        column = draw_poses(blank(size, size), [pose])[: size // 2, size * 150 // 400]
        widths.append(int((np.abs(column.astype(int) - ORANGE).max(axis=-1) < 30).sum()))
    assert widths[1] >= 3 * widths[0] >= 3


def test_scale_enlarges() -> None:
    pose = Pose((5, 5, 50, 30), (Keypoint("nose", np.array([30, 20]), 1.0),))
    drawn = draw_poses(blank(40, 60), [pose], scale=8, labels=False)
    assert drawn.shape == (320, 480, 3)
    assert tuple(drawn[164, 244]) == GREEN  # the centre of pixel (30, 20)
    assert draw_poses(blank(400, 400), [], scale=0.5).shape == (200, 200, 3)
    for scale in (0, -1, math.nan, math.inf, 1000):
        with pytest.raises(InvalidInputError, match="expected scale above 0"):
            draw_poses(blank(), [], scale=scale)


@pytest.mark.parametrize("far", [1e12, -1e12])
def test_points_far_away_do_not_overflow(far: float) -> None:
    drawn = draw_poses(blank(), [pose_of(ARM | {"left elbow": (far, far)})])
    assert drawn.shape == (400, 400, 3)


def test_results_draw_themselves() -> None:
    poses = [pose_of(ARM), pose_of({"nose": (50.0, 60.0)})]
    image = blank()
    assert np.array_equal(Localization(poses).draw(image, scale=2), draw_poses(image, poses, scale=2))
    assert np.array_equal(poses[0].draw(image, labels=True), draw_poses(image, poses[:1], labels=True))
    bad: Any = image.astype(np.float32)
    with pytest.raises(InvalidInputError, match="got float32"):
        poses[0].draw(bad)
