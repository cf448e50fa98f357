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


def metric_pose(places: dict[str, tuple[float, float, float]]) -> Pose:
    """Points at u, v, seen at distance z."""
    return Pose(
        (math.nan,) * 4,
        tuple(
            Keypoint(n, np.array([u, v]), 0.9, xyz=np.array([0.0, 0.0, z])) for n, (u, v, z) in places.items()
        ),
    )


def test_the_skeleton_of_smpl_is_drawn() -> None:
    pose = metric_pose({"left_shoulder": (100, 100, 1), "left_elbow": (200, 100, 1), "head": (300, 300, 1)})
    drawn = draw_poses(blank(), [pose])
    assert tuple(drawn[100, 150]) == tuple(drawn[100, 200]) == ORANGE and tuple(drawn[300, 300]) == GREEN
    assert (drawn[0] == 128).all() and (drawn[:, 0] == 128).all()  # no box where there is none


def test_nearer_joints_are_larger_and_in_front() -> None:
    def width(z: float) -> int:
        pose = metric_pose({"head": (100, 100, z), "neck": (300, 200, 1), "pelvis": (300, 300, 1)})
        return int((draw_poses(blank(), [pose], labels=False)[100] != 128).any(axis=-1).sum())

    assert width(0.5) > width(1) > width(2)
    assert width(0.1) == width(0.01)  # within bounds
    for left, right, color in ((0.5, 2, ORANGE), (2, 0.5, BLUE)):
        pose = metric_pose({"left_wrist": (200, 200, left), "right_wrist": (200, 200, right)})
        assert tuple(draw_poses(blank(), [pose], labels=False)[200, 200]) == color


def test_answers_at_the_end_of_what_bins_can_say_are_hollow() -> None:
    point = Keypoint("left_wrist", np.array([200.0, 200.0]), 0.9, xyz=np.array([0.0, 0.0, 4.0]), valid=False)
    drawn = draw_poses(blank(), [Pose((math.nan,) * 4, (point,))], labels=False, scale=4)
    assert tuple(drawn[802, 802]) == (20, 22, 28) and tuple(drawn[802, 802 + 11]) == ORANGE


def test_labels_say_how_far() -> None:
    near, far = (metric_pose({"left_hand": (200, 200, z)}) for z in (0.5, 1.5))
    flat = Pose(near.box, pose_of({"left_hand": (200.0, 200.0)}).keypoints)
    counts = [int((draw_poses(blank(), [p], labels=True) != 128).any(axis=-1)[150:250, 210:].sum())
              for p in (near, far, flat)]  # fmt: skip
    assert counts[0] == counts[1] > 1.3 * counts[2]


def test_results_draw_themselves() -> None:
    poses = [pose_of(ARM), pose_of({"nose": (50.0, 60.0)})]
    image = blank()
    assert np.array_equal(Localization(poses).draw(image, scale=2), draw_poses(image, poses, scale=2))
    assert np.array_equal(poses[0].draw(image, labels=True), draw_poses(image, poses[:1], labels=True))
    bad: Any = image.astype(np.float32)
    with pytest.raises(InvalidInputError, match="got float32"):
        poses[0].draw(bad)
