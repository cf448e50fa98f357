# SPDX-License-Identifier: Apache-2.0
"""Things around people: furniture-like boxes, poles, balls and plants behind them, and things in front.

People do not belong here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.primitives import Boxes, Cones
from edgepose.training.rendering.vectors import frame_along, rotation, unit

__all__ = ["THINGS", "draw_scenery"]

_BOXES = 9
_CONES = 8
THINGS = _BOXES + _CONES
"""Things per image at most; each has a material of its own."""


def _upright(draws: Draws, up: Tensor, count: int) -> Tensor:
    """`(count, 3, 3)` frames standing on the floor, turned about the vertical."""
    across = up.new_tensor([1.0, 0.0, 0.0]).expand(count, 3)
    frame = frame_along(up, torch.linalg.cross(across, up))
    return frame @ rotation(1, draws.uniform((count,), (-0.9, 0.9)))


def draw_scenery(
    draws: Draws, up: Tensor, target: Tensor, floor: Tensor, occluded: float, first_material: int
) -> tuple[Cones, Boxes]:
    """Draw things.

    Args:
        draws: where random numbers come from.
        up: `(B, 3)` against gravity.
        target: `(B, 3)` the main person's middle, metres, camera frame.
        floor: `(B,)` metres from the camera down to the floor.
        occluded: probability that something stands in front of the person.
        first_material: row of the things' first material.
    """
    images = len(up)
    device = up.device

    def spread(per_image: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image, up and depth factor of each thing, and whether it is there."""
        image = torch.arange(images, device=device).repeat_interleave(per_image)
        busy = draws.uniform((images, 1)) ** 1.3
        there = draws.uniform((images, per_image)) < busy
        ahead = torch.zeros(images, per_image, dtype=torch.bool, device=device)
        ahead[:, 0] = draws.chance((images,), occluded / 2)
        there |= ahead
        depth = torch.where(
            ahead,
            draws.uniform((images, per_image), (0.45, 0.8)),
            draws.log_uniform((images, per_image), (1.12, 3.0)),
        )
        return image, there.reshape(-1), depth.reshape(-1), ahead.reshape(-1)

    def placed(image: Tensor, depth: Tensor, ahead: Tensor, wide: float) -> Tensor:
        """Places on the rays around the person."""
        count = len(image)
        z = target[image, 2] * depth
        x = target[image, 0] / target[image, 2] + draws.normal((count,), wide) * (~ahead)
        y = target[image, 1] / target[image, 2]
        side = draws.normal((count,), 0.35) / target[image, 2]
        down = draws.uniform((count,), (-0.1, 0.9)) / target[image, 2]
        x = torch.where(ahead, x + side, x)
        y = torch.where(ahead, y + down, y + draws.normal((count,), 0.3))
        return torch.stack([x * z, y * z, z], 1)

    image, there, depth, ahead = spread(_BOXES)
    count = len(image)
    center = placed(image, depth, ahead, 0.5)
    axes = _upright(draws, up[image], count)
    half = draws.log_uniform((count, 3), (0.06, 0.7))
    small = draws.log_uniform((count, 3), (0.03, 0.3))
    half = torch.where(ahead[:, None], small * (target[image, 2:] / 2.5).clamp(0.3, 1.5), half)
    # Furniture stands: most boxes behind people reach down to the floor.
    base = (center * up[image]).sum(1) + floor[image]
    standing = draws.chance((count,), 0.6) & ~ahead
    drop = torch.where(standing, half[:, 1] - base, torch.zeros_like(base))
    center = center + up[image] * drop[:, None]
    rows = first_material + image * THINGS + torch.arange(_BOXES, device=device).repeat(images)
    keep = (there & (center[:, 2] > 0.3)).nonzero()[:, 0]
    boxes = Boxes(image[keep], center[keep], axes[keep], half[keep], rows[keep])

    image, there, depth, ahead = spread(_CONES)
    count = len(image)
    center = placed(image, depth, ahead, 0.5)
    along = torch.where(draws.chance((count, 1), 0.5), up[image], unit(draws.normal((count, 3))))
    length = draws.log_uniform((count,), (0.02, 1.2))
    thick = draws.log_uniform((count,), (0.03, 0.25))
    close = (target[image, 2] / 2.5).clamp(0.3, 1.2)
    thick = torch.where(ahead, (thick * 0.6 * close).clamp(max=0.12), thick)
    length = torch.where(ahead, length * 0.6 * close, length)
    rows = first_material + image * THINGS + _BOXES + torch.arange(_CONES, device=device).repeat(images)
    ones = torch.ones(count, device=device)
    cones = Cones(
        image=image,
        origin=center,
        axes=frame_along(along, draws.normal((count, 3))),
        stretch=torch.stack([ones, ones, draws.uniform((count,), (0.4, 1.4))], 1),
        length=length,
        radii=thick[:, None] * draws.uniform((count, 2), (0.4, 1.2)),
        material=rows,
        beyond=rows,
        cut=ones * 10,
        owner=torch.full((count,), -1, dtype=torch.int64, device=device),
        part=torch.full((count,), -1, dtype=torch.int64, device=device),
    )
    keep = (there & (center[:, 2] > 0.3)).nonzero()[:, 0]
    return Cones(*(getattr(cones, name)[keep] for name in Cones.__slots__)), boxes
