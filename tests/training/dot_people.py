# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the renderer: people of coloured dots, one for each joint, in front of a pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class DotFrames:
    images: Tensor
    xy: Tensor
    xyz: Tensor
    visible: Tensor
    boxes: Tensor
    focal: Tensor
    principal: Tensor


def render_dots(
    seed: int,
    count: int,
    *,
    width: int = 640,
    height: int = 480,
    focal: tuple[float, float] = (450.0, 900.0),
    distance: tuple[float, float] = (0.8, 2.5),
    poses: Any = None,
    device: str = "cpu",
    shift: float = 0.0,
) -> DotFrames:
    """Frames of one focal length whose principal point is off the middle by up to `shift` of the sides."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random)

    f = focal[0] + (focal[1] - focal[0]) * float(draw(1))
    size = torch.tensor([width, height], dtype=torch.float32)
    principal = size / 2 - 0.5 + (draw(count, 2) - 0.5) * 2 * shift * size
    z = distance[0] + (distance[1] - distance[0]) * draw(count, 1, 1)
    middle = torch.cat(((draw(count, 1, 2) - 0.5) * 0.5 * z, z), dim=-1)
    xyz = middle + (draw(count, 22, 3) - 0.5) * torch.tensor([0.5, 0.7, 0.2])
    xy = xyz[..., :2] / xyz[..., 2:] * f + principal[:, None]
    inside = ((xy >= 0) & (xy <= size - 1)).all(-1) & (xyz[..., 2] > 0)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    colours = torch.rand(22, 3, generator=torch.Generator().manual_seed(0)) * 255
    images = (draw(count, 1, 1, 3) * 80).expand(count, height, width, 3).clone()
    for joint in range(22):
        away = ((x - xy[:, joint, 0, None, None]) ** 2 + (y - xy[:, joint, 1, None, None]) ** 2).sqrt()
        dot = (f * 0.05 / xyz[:, joint, 2, None, None] - away).clamp(0, 1)[..., None]
        images = images * (1 - dot) + colours[joint] * dot
    low, high = xy.amin(1), xy.amax(1)
    return DotFrames(
        images=images.round().to(torch.uint8),
        xy=xy,
        xyz=xyz,
        visible=(2 * inside).to(torch.int8),
        boxes=torch.cat((low, high - low), dim=-1),
        focal=torch.full((count,), f),
        principal=principal,
    )
