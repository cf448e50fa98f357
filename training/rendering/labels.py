# SPDX-License-Identifier: Apache-2.0
"""Where keypoints and people are in a rendered picture, and which of them can be seen.

The points in space come from `scene`; files do not belong here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.training.rendering.raster import NEAR, Surface
from edgepose.training.rendering.scene import Scene

__all__ = ["located", "outline_boxes", "project"]

_TOLERANCE = 0.03
"""Metres: cloth, hair and the next limb may cover a joint by this much beyond its own flesh."""


def project(points: Tensor, projection: Tensor) -> Tensor:
    """Pixels of points.

    Args:
        points: `(..., K, 3)` metres, camera frame; points behind the nearest plane are moved onto it.
        projection: `(..., 3, 3)` camera matrices.

    Returns:
        `(..., K, 2)`.
    """
    ahead = torch.cat([points[..., :2], points[..., 2:].clamp(min=NEAR)], dim=-1)
    seen = ahead @ projection.transpose(-1, -2)
    return seen[..., :2] / seen[..., 2:]


def located(
    points: Tensor,
    radii: Tensor,
    image: Tensor,
    projection: Tensor,
    surface: Surface,
    size: tuple[int, int],
    seen: Tensor | None = None,
) -> Tensor:
    """Keypoints in pictures.

    A keypoint is visible when nothing lies nearer along its ray than the flesh around it does.

    Args:
        points: `(P, K, 3)` metres, camera frame.
        radii: `(P, K)` metres of flesh around each.
        image: `(P,)` int64: the picture of each row.
        projection: `(B, 3, 3)` camera matrices.
        surface: what the pictures show.
        size: (height, width) of the pictures.
        seen: `(B, H, W)` bool: pixels that show anything; None for all.

    Returns:
        `(P, K, 3)` float32: x, y in pixels; 0 outside the picture or behind the camera, 1 hidden, 2 visible.
    """
    height, width = size
    xy = project(points, projection[image])
    inside = ((xy >= 0) & (xy < xy.new_tensor([width, height]))).all(-1) & (points[..., 2] > NEAR)
    column = xy[..., 0].round().clamp(0, width - 1).long()
    row = xy[..., 1].round().clamp(0, height - 1).long()
    place = (image[:, None] * height + row) * width + column
    if seen is not None:
        inside = inside & seen.reshape(-1)[place]
    free = surface.depth[place] > points[..., 2] - radii - _TOLERANCE
    state = inside.float() * (1 + free.float())
    return torch.cat([xy, state[..., None]], dim=-1)


def outline_boxes(scene: Scene, surface: Surface, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes around the pixels that see each person, and their number.

    Returns:
        `(P, 4)` float32 x, y, width, height in pixels, zeros where no pixel does; `(P,)` float32 pixels.
    """
    height, width = size
    owner = torch.cat([scene.cones.owner, torch.full_like(scene.boxes.image, -1)])
    place = (surface.solid >= 0).nonzero()[:, 0]
    person = owner[surface.solid[place]]
    place, person = place[person >= 0], person[person >= 0]
    spot = place % (height * width)
    corner = torch.stack([spot % width, torch.div(spot, width, rounding_mode="floor")], dim=1).float()
    row = person[:, None].expand(-1, 2)
    shape = (len(scene.image), 2)
    low = torch.full(shape, torch.inf, device=corner.device).scatter_reduce_(0, row, corner, "amin")
    high = torch.full(shape, -torch.inf, device=corner.device).scatter_reduce_(0, row, corner, "amax")
    area = torch.bincount(person, minlength=len(scene.image)).float()
    boxes = torch.cat([low, high - low + 1], dim=1)
    return torch.where(area[:, None] > 0, boxes, torch.zeros_like(boxes)), area
