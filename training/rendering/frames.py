# SPDX-License-Identifier: Apache-2.0
"""Frames for the 3-D task: a person at arm's length to a few metres, as a robot or a headset sees them.

Crops do not belong here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.training.rendering.batches import FrameBatch
from edgepose.training.rendering.body import JOINT_RADII
from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.labels import located, outline_boxes
from edgepose.training.rendering.landmarks import COCO17_RADII
from edgepose.training.rendering.people import People
from edgepose.training.rendering.pose_library import PoseLibrary
from edgepose.training.rendering.scene import Scene, draw_scene, render
from edgepose.training.rendering.sensor import expose
from edgepose.training.rendering.stage import Stage
from edgepose.training.rendering.views import draw_close_view

__all__ = ["CLOSE_RANGE", "frame_batch", "render_frames"]

CLOSE_RANGE = Stage(company=(0.8, 0.2), occluded=0.12, in_front=0.0, facing=0.8, tumbled=0.01)
"""Someone close who mostly faces the camera, sometimes another person behind."""

_PIXELS = 1 << 20  # drawn at once


def render_frames(
    seed: int | torch.Generator,
    count: int,
    *,
    width: int = 640,
    height: int = 480,
    focal: tuple[float, float] = (450.0, 900.0),
    distance: tuple[float, float] = (0.4, 2.5),
    poses: PoseLibrary,
    device: torch.device | str = "cpu",
    people: People | None = None,
    stage: Stage = CLOSE_RANGE,
) -> FrameBatch:
    """Draw frames.

    Args:
        seed: the same seed, count and size give the same frames; on another device only single pixels differ.
            Or a generator of the CPU, which goes on from where it is.
        count: how many, at least 1.
        width: of the frames, pixels.
        height: of the frames, pixels.
        focal: lowest and highest focal length, pixels.
        distance: lowest and highest depth of the point of the body that the camera looks at, metres.
        poses: where poses come from.
        device: where to draw.
        people: how much people differ; None for the usual.
        stage: what stands around.

    Raises:
        InvalidInputError: a size is not positive, or a range is empty or not positive.
    """
    if count < 1 or width < 16 or height < 16:
        raise InvalidInputError(
            f"[render] expected at least one frame of at least 16x16 pixels; got count {count}, "
            f"{width}x{height}; ask for more"
        )
    for name, span in (("focal", focal), ("distance", distance)):
        if not 0 < span[0] <= span[1]:
            raise InvalidInputError(
                f"[render] expected {name} as (lowest, highest) above 0; got {span}; pass for example "
                "(450, 900) pixels or (0.4, 2.5) metres"
            )
    draws = Draws(seed, device)
    chunk = max(1, _PIXELS // (width * height))
    parts = []
    for begin in range(0, count, chunk):
        now = min(chunk, count - begin)
        view = draw_close_view(draws, now, width, height, focal, distance)
        scene = draw_scene(draws, view, poses, people or People(), stage)
        parts.append(frame_batch(draws, scene, height, width))
    return FrameBatch(*(torch.cat([getattr(part, name) for part in parts]) for name in FrameBatch.__slots__))


def frame_batch(draws: Draws, scene: Scene, height: int, width: int, grain: int = 0) -> FrameBatch:
    """The frames of a scene, with the labels of its main people; `grain` as in `expose`."""
    projection = scene.view.projection
    size = (height, width)
    light, surface = render(draws, scene, projection, height, width)
    main = scene.main

    def seen(points: Tensor, radii: tuple[float, ...]) -> Tensor:
        flesh = torch.tensor(radii, device=light.device) * scene.flesh[main, None]
        return located(points[main], flesh, scene.image[main], projection, surface, size)

    joints = seen(scene.joints, JOINT_RADII)
    boxes, area = outline_boxes(scene, surface, size)
    return FrameBatch(
        images=expose(draws, light, grain=grain),
        xy=joints[..., :2],
        xyz=scene.joints[main],
        visible=joints[..., 2].to(torch.int8),
        boxes=boxes[main],
        focal=scene.view.focal,
        principal=scene.view.principal,
        coco17=seen(scene.coco17, COCO17_RADII),
        area=area[main],
    )
