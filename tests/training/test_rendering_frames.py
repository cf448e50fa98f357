# SPDX-License-Identifier: Apache-2.0
"""Frames: metric joints project onto their pixels and lie in the flesh that the pixels show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cv2  # noqa: E402

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.training.rendering import FrameBatch, People, PoseLibrary, render_frames  # noqa: E402
from edgepose.training.rendering.body import JOINT_RADII  # noqa: E402
from edgepose.training.rendering.bones import JOINTS  # noqa: E402
from edgepose.training.rendering.draws import Draws, SteadyDraws  # noqa: E402
from edgepose.training.rendering.frames import CLOSE_RANGE  # noqa: E402
from edgepose.training.rendering.labels import located, outline_boxes  # noqa: E402
from edgepose.training.rendering.primitives import Boxes  # noqa: E402
from edgepose.training.rendering.raster import nearest_surface  # noqa: E402
from edgepose.training.rendering.scene import Scene, draw_scene  # noqa: E402
from edgepose.training.rendering.views import draw_close_view  # noqa: E402

WIDTH, HEIGHT = 160, 120
FOCAL = (112.0, 225.0)


@pytest.fixture(scope="module")
def batch() -> FrameBatch:
    return render_frames(
        7, 40, width=WIDTH, height=HEIGHT, focal=FOCAL, distance=(0.5, 4.0), poses=PoseLibrary.priors()
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    draws = Draws(11)
    view = draw_close_view(draws, 24, WIDTH, HEIGHT, FOCAL, (1.5, 3.5))
    stage = replace(CLOSE_RANGE, company=(1.0,), occluded=0.0)
    return draw_scene(draws, view, PoseLibrary.priors(), People(), stage)


def test_shapes_and_types(batch: FrameBatch) -> None:
    assert batch.images.shape == (40, HEIGHT, WIDTH, 3) and batch.images.dtype == torch.uint8
    assert batch.xy.shape == (40, 22, 2) and batch.xyz.shape == (40, 22, 3)
    assert batch.visible.shape == (40, 22) and batch.visible.dtype == torch.int8
    assert batch.boxes.shape == (40, 4) and batch.coco17.shape == (40, 17, 3)
    assert batch.focal.shape == (40,) and batch.principal.shape == (40, 2)
    for values in (batch.xy, batch.xyz, batch.boxes, batch.coco17):
        assert values.dtype == torch.float32 and values.isfinite().all()


def test_one_seed_one_batch(batch: FrameBatch) -> None:
    again = render_frames(
        7, 40, width=WIDTH, height=HEIGHT, focal=FOCAL, distance=(0.5, 4.0), poses=PoseLibrary.priors()
    )
    for name in FrameBatch.__slots__:
        assert torch.equal(getattr(batch, name), getattr(again, name))


def test_joints_project_as_opencv_projects_them(batch: FrameBatch) -> None:
    for place in range(len(batch.images)):
        f, (cx, cy) = float(batch.focal[place]), batch.principal[place].tolist()
        matrix = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]])
        ahead = batch.xyz[place, :, 2] > 0.06
        points = batch.xyz[place, ahead].double().numpy()
        expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, None)
        found = batch.xy[place, ahead].numpy()
        assert found == pytest.approx(expected[:, 0], rel=1e-4, abs=0.02)


def test_cameras_and_distances_are_as_asked(batch: FrameBatch) -> None:
    assert ((batch.focal >= FOCAL[0]) & (batch.focal <= FOCAL[1])).all()
    assert (batch.principal - torch.tensor([WIDTH / 2, HEIGHT / 2])).abs().max() < 0.1 * WIDTH
    depth = batch.xyz[:, JOINTS["spine3"], 2]
    assert 0.3 < float(depth.min()) and float(depth.max()) < 4.6
    assert (batch.visible > 0).sum(1).float().mean() > 9
    assert (batch.visible[:, JOINTS["spine3"]] > 0).float().mean() > 0.8


def test_visible_joints_lie_in_the_flesh_that_is_seen(scene: Scene) -> None:
    surface = nearest_surface(scene.cones, scene.boxes, scene.view.projection, HEIGHT, WIDTH)
    flesh = torch.tensor(JOINT_RADII) * scene.flesh[:, None]
    points = located(scene.joints, flesh, scene.image, scene.view.projection, surface, (HEIGHT, WIDTH))
    x, y = (
        points[..., 0].round().long().clamp(0, WIDTH - 1),
        points[..., 1].round().long().clamp(0, HEIGHT - 1),
    )
    place = (scene.image[:, None] * HEIGHT + y) * WIDTH + x
    depth = surface.depth[place]
    visible = points[..., 2] == 2
    cover = (scene.joints[..., 2] - depth)[visible]
    assert int(visible.sum()) > 150
    # The surface is in front of the joint, by no more than the body is thick.
    assert (cover > -0.01).float().mean() > 0.98 and (cover < 0.2).all()
    owner = torch.cat([scene.cones.owner, torch.full_like(scene.boxes.image, -1)])[surface.solid[place]]
    own = owner == torch.arange(len(scene.image))[:, None]
    assert own[visible].float().mean() > 0.97


def test_what_stands_in_front_hides_joints(scene: Scene) -> None:
    """A board over the left half of each picture hides the joints there and no others."""
    count = len(scene.view.focal)
    depth = 0.3
    half = torch.tensor([[2.0, 2.0, 0.01]]).expand(count, 3)
    middle = (WIDTH / 2 - 0.5 - scene.view.principal[:, 0]) / scene.view.focal * depth
    center = torch.stack([middle - 2.0, torch.zeros(count), torch.full((count,), depth)], 1)
    rows = torch.arange(count)
    board = Boxes(rows, center, torch.eye(3).expand(count, 3, 3), half, rows)
    size, projection = (HEIGHT, WIDTH), scene.view.projection
    flesh = torch.tensor(JOINT_RADII) * scene.flesh[:, None]

    def labelled(boxes: Boxes) -> torch.Tensor:
        surface = nearest_surface(scene.cones, boxes, projection, *size)
        return located(scene.joints, flesh, scene.image, projection, surface, size)

    empty = Boxes(*(getattr(board, name)[:0] for name in Boxes.__slots__))
    free, covered = labelled(empty), labelled(board)
    left = (free[..., 0] < WIDTH / 2 - 2) & (free[..., 2] > 0)
    right = (free[..., 0] > WIDTH / 2 + 2) & (free[..., 2] > 0)
    assert int(left.sum()) > 40 and int(right.sum()) > 40
    assert (free[left][:, 2] == 2).any()
    assert (covered[left][:, 2] == 1).all()
    assert torch.equal(covered[right], free[right])


def test_someone_else_s_back_hides_what_is_behind_it() -> None:
    """From behind, a face is hidden by its own head; from in front it is seen."""
    stage = replace(CLOSE_RANGE, company=(1.0,), occluded=0.0, facing=0.0, tumbled=0.0)
    frames = render_frames(
        2,
        40,
        width=WIDTH,
        height=HEIGHT,
        focal=FOCAL,
        distance=(1.5, 2.5),
        poses=PoseLibrary.priors(),
        stage=stage,
    )
    across = (frames.xyz[:, JOINTS["left_shoulder"]] - frames.xyz[:, JOINTS["right_shoulder"]])[:, 0]
    nose = frames.coco17[:, 0, 2]
    away, toward = (across < -0.25) & (nose > 0), (across > 0.25) & (nose > 0)
    assert int(away.sum()) > 4 and int(toward.sum()) > 4
    assert (nose[away] == 1).float().mean() > 0.85
    assert (nose[toward] == 2).float().mean() > 0.7


def test_boxes_hold_what_is_seen_of_the_person(scene: Scene, batch: FrameBatch) -> None:
    x, y, w, h = batch.boxes.unbind(1)
    assert (x >= 0).all() and (y >= 0).all() and (x + w <= WIDTH).all() and (y + h <= HEIGHT).all()
    seen = batch.visible == 2
    inside = (batch.xy >= batch.boxes[:, None, :2] - 2) & (
        batch.xy <= (batch.boxes[:, :2] + batch.boxes[:, 2:])[:, None] + 2
    )
    assert inside.all(-1)[seen].float().mean() > 0.99
    assert (batch.area <= w * h).all() and (batch.area > 0.1 * w * h).all()

    # The outline of the whole body, drawn alone, is what the exact projected boxes say.
    size = (HEIGHT, WIDTH)
    no_boxes = Boxes(*(getattr(scene.boxes, name)[:0] for name in Boxes.__slots__))
    surface = nearest_surface(scene.cones, no_boxes, scene.view.projection, *size)
    visible, _ = outline_boxes(scene, surface, size)
    low, high = scene.outlines(torch.tensor([[WIDTH, HEIGHT]] * len(visible))).split(2, dim=1)
    assert (visible[:, :2] >= low - 0.01).all() and (visible[:, :2] + visible[:, 2:] - 1 <= high + 0.01).all()
    near = ((visible[:, :2] - low).abs() < 3).all(1) & (
        (visible[:, :2] + visible[:, 2:] - 1 - high).abs() < 3
    ).all(1)
    assert near.float().mean() > 0.8


def test_steady_draws_repeat_one_image() -> None:
    one, many = Draws(5), SteadyDraws(5, 4)
    assert torch.equal(one.normal((3, 2)).repeat(4, 1), many.normal((12, 2)))
    assert torch.equal(one.choice((1,), (1.0, 1.0, 1.0)).repeat(4), many.choice((4,), (1.0, 1.0, 1.0)))
    assert torch.equal(one.chance((2, 3), 0.5).repeat(4, 1), many.chance((8, 3), 0.5))


def test_nonsense_is_refused() -> None:
    poses = PoseLibrary.priors()
    with pytest.raises(InvalidInputError, match=r"\[render\].*8x480"):
        render_frames(0, 1, width=8, poses=poses)
    with pytest.raises(InvalidInputError, match=r"\[render\].*distance.*\(3, 1\)"):
        render_frames(0, 1, distance=(3, 1), poses=poses)
    with pytest.raises(InvalidInputError, match=r"\[render\].*focal.*\(0, 1\)"):
        render_frames(0, 1, focal=(0, 1), poses=poses)
