# SPDX-License-Identifier: Apache-2.0
"""Crops for the 2-D task: one person each, cut out as the published systems do, the rest never drawn.

The crop's map of pixels goes into the camera matrix, so that nothing is resampled.

Source:
    Crop and augmentation: LocLLM's recipe for COCO, the square around the box, scale clip(N(0, 1) * 0.3 + 1,
    0.7, 1.3), rotation uniform within 40 degrees for half of the samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.training.rendering.batches import CropBatch
from edgepose.training.rendering.body import JOINT_RADII
from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.labels import located
from edgepose.training.rendering.landmarks import COCO17_RADII, MPII16_RADII
from edgepose.training.rendering.people import People
from edgepose.training.rendering.pose_library import PoseLibrary
from edgepose.training.rendering.scene import draw_scene, render
from edgepose.training.rendering.sensor import expose
from edgepose.training.rendering.stage import Stage
from edgepose.training.rendering.views import PHOTOGRAPHS, draw_view

__all__ = ["CHUNK", "crop_maps", "render_crops"]

CHUNK = 32
"""Images drawn at once: bounds the memory, and is the same on every device."""


def crop_maps(draws: Draws, outlines: Tensor, sizes: Tensor, size: int, augment: bool) -> Tensor:
    """`(B, 3, 3)`: image pixels to crop pixels, of outlines `(B, 4)` in images of sizes `(B, 2)`."""
    count = len(outlines)
    limits = sizes - 1
    anywhere = torch.cat([sizes * 0.25, sizes * 0.75], dim=1)
    box = torch.where((outlines[:, :2] < outlines[:, 2:]).all(1, keepdim=True), outlines, anywhere)
    box = box + draws.normal((count, 4), 0.015) * (box[:, 2:] - box[:, :2]).repeat(1, 2)
    low = torch.minimum(box[:, :2].clamp(min=0), limits - 12)
    high = torch.maximum(torch.minimum(box[:, 2:], limits), low + 12)
    center = (low + high) / 2
    side = (high - low).amax(1)
    angle = torch.zeros(count, device=draws.device)
    if augment:
        side = side * (1 + draws.normal((count,), 0.3, limit=10)).clamp(0.7, 1.3)
        angle = draws.uniform((count,), (-40, 40)) * draws.chance((count,), 0.5) * (torch.pi / 180)
    zoom = size / side
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.zeros(count, 3, 3, device=draws.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = cos
    matrix[:, 0, 1], matrix[:, 1, 0] = -sin, sin
    matrix[:, :2, 2] = size / 2 - (matrix[:, :2, :2] @ center[..., None])[..., 0]
    matrix[:, 2, 2] = 1
    return matrix


def render_crops(
    seed: int | torch.Generator,
    count: int,
    *,
    size: int = 168,
    poses: PoseLibrary,
    device: torch.device | str = "cpu",
    people: People | None = None,
    stage: Stage | None = None,
    augment: bool = True,
) -> CropBatch:
    """Draw crops.

    Args:
        seed: the same seed and count give the same crops; on another device only single pixels differ. Or a
            generator of the CPU, which goes on from where it is.
        count: how many, at least 1.
        size: side of the crops, pixels, at least 16.
        poses: where poses come from.
        device: where to draw.
        people: how much people differ; None for the usual.
        stage: what stands around; None for the usual.
        augment: whether to scale and turn the crops as in training. False cuts exactly around the box.

    Raises:
        InvalidInputError: a size or a number is not positive.
    """
    if count < 1 or size < 16:
        raise InvalidInputError(
            f"[render] expected at least one crop of at least 16 pixels; got count {count}, size "
            f"{size}; ask for more"
        )
    draws = Draws(seed, device)
    parts = []
    for begin in range(0, count, CHUNK):
        parts.append(
            _chunk(
                draws, min(CHUNK, count - begin), size, poses, people or People(), stage or Stage(), augment
            )
        )
    return CropBatch(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _chunk(
    draws: Draws, count: int, size: int, poses: PoseLibrary, people: People, stage: Stage, augment: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kinds = draws.choice((count,), [1.0] * len(PHOTOGRAPHS))
    sizes = torch.tensor(PHOTOGRAPHS, dtype=torch.float32, device=draws.device)[kinds]
    view = draw_view(draws, sizes)
    scene = draw_scene(draws, view, poses, people, stage)
    outlines = scene.outlines(sizes)[scene.main]
    maps = crop_maps(draws, outlines, sizes, size, augment)
    projection = maps @ view.projection
    light, surface = render(draws, scene, projection, size, size)

    # Pixels of the crop whose place in the image lies outside of it are black.
    back = torch.linalg.inv(maps)
    steps = torch.arange(size, device=draws.device, dtype=torch.float32)
    place = (
        steps[None, None, :, None] * back[:, None, None, :2, 0]
        + steps[None, :, None, None] * back[:, None, None, :2, 1]
    )
    place = place + back[:, None, None, :2, 2]
    seen = ((place >= -0.5) & (place < sizes[:, None, None] - 0.5)).all(-1)
    images = expose(draws, light, seen)

    main = scene.main

    def labelled(points: Tensor, radii: tuple[float, ...]) -> Tensor:
        flesh = torch.tensor(radii, device=draws.device) * scene.flesh[main, None]
        return located(points[main], flesh, scene.image[main], projection, surface, (size, size), seen)

    return (
        images,
        labelled(scene.joints, JOINT_RADII),
        labelled(scene.coco17, COCO17_RADII),
        labelled(scene.mpii16, MPII16_RADII),
    )
