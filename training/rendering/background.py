# SPDX-License-Identifier: Apache-2.0
"""What lies behind everything: a floor that runs into the distance, a wall or sky, noise of several sizes.

Furniture and other solids do not belong here: see `scenery`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.materials import hues

__all__ = ["draw_background"]

_SIZES = (4, 10, 28, 72)
"""Cells of the noise along the shorter side, coarse to fine."""


def _noise(draws: Draws, count: int, height: int, width: int) -> Tensor:
    """`(count, 4, height, width)`, about -1 to 1: octaves whose weights differ from image to image."""
    field = torch.zeros(count, 4, 2, 2, device=draws.device)
    shape = (2, 2)
    for size in _SIZES:
        shorter = min(height, width)
        if size > shorter:
            break
        shape = (round(size * height / shorter), round(size * width / shorter))
        field = F.interpolate(field, size=shape, mode="bilinear", align_corners=False)
        weight = draws.uniform((count, 1, 1, 1)) ** 2 * (4 / size) ** 0.35
        field = field + draws.uniform((count, 4, *shape), (-1, 1)) * weight
    return F.interpolate(field, size=(height, width), mode="bilinear", align_corners=False)


def _wave(draws: Draws, count: int, u: Tensor, v: Tensor, span: tuple[float, float]) -> Tensor:
    """Stripes, checks or plain ground over coordinates `(count, H, W)` in metres: 0 to 1."""

    def per_image(values: Tensor) -> Tensor:
        return values[:, None, None]

    frequency = 2 * math.pi / draws.log_uniform((count,), span)
    angle = draws.uniform((count,), (0, math.pi)) * draws.chance((count,), 0.5)
    cos, sin = per_image(angle.cos() * frequency), per_image(angle.sin() * frequency)
    first = (u * cos + v * sin + per_image(draws.uniform((count,), (0, 6)))).sin()
    second = (v * cos - u * sin).sin()
    crossed = per_image(draws.choice((count,), (0.5, 0.5)).float())
    sharp = per_image(draws.log_uniform((count,), (0.7, 8)))
    strength = per_image(draws.uniform((count,)) * draws.chance((count,), 0.6))
    return 0.5 + 0.5 * strength * (first * (1 - crossed + crossed * second) * sharp).clamp(-1, 1)


def draw_background(draws: Draws, rays: Tensor, up: Tensor, floor: Tensor, wall: Tensor) -> Tensor:
    """Draw the ground and what stands behind it.

    Args:
        draws: where random numbers come from.
        rays: `(B, H, W, 3)` directions of depth 1, camera frame.
        up: `(B, 3)` against gravity.
        floor: `(B,)` metres from the camera down to the floor, above 0.
        wall: `(B,)` metres to the wall.

    Returns:
        `(B, H, W, 3)` float32, about 0 to 1.
    """
    count, height, width, _ = rays.shape

    def per_image(values: Tensor) -> Tensor:
        return values[:, None, None]

    forward = rays.new_tensor([0.0, 0.0, 1.0]) - up[:, 2:] * up
    forward = F.normalize(forward, dim=1)
    across = torch.linalg.cross(up, forward)
    basis = torch.stack([across, up, forward], dim=2)  # columns
    seen = (rays.reshape(count, -1, 3) @ basis).reshape(count, height, width, 3)
    x, y, z = seen.unbind(3)
    z = z.clamp(min=1e-2)
    to_floor = per_image(floor) / (-y).clamp(min=1e-4)
    to_wall = per_image(wall) / z
    on_floor = to_floor < to_wall

    ground = _wave(draws, count, x * to_floor, z * to_floor, (0.1, 1.5))
    far = (-to_floor / 12).exp()
    ground = 0.5 + (ground - 0.5) * far
    panel = _wave(draws, count, x * to_wall, y * to_wall, (0.1, 2.5))
    mix = torch.where(on_floor, ground, panel)

    noise = _noise(draws, count, height, width)
    colors = [hues(draws, count, 0.35) for _ in range(4)]
    plain = draws.chance((count, 1), 0.6)
    colors[1] = torch.where(plain, colors[0] * draws.uniform((count, 1), (0.6, 1.2)), colors[1])
    colors[3] = torch.where(plain, colors[2] * draws.uniform((count, 1), (0.6, 1.2)), colors[3])
    # Outdoors: sky over grass, sand or asphalt.
    outside = draws.chance((count, 1), 0.4)
    sky = rays.new_tensor([0.62, 0.78, 0.95]) * draws.uniform((count, 1), (0.7, 1.1))
    earths = rays.new_tensor([[0.30, 0.42, 0.16], [0.62, 0.54, 0.40], [0.40, 0.40, 0.41], [0.45, 0.36, 0.25]])
    earth = earths[draws.choice((count,), (2.0, 1.0, 1.5, 1.0))] * draws.uniform((count, 1), (0.6, 1.3))
    trees = draws.chance((count, 1), 0.5)
    colors[2] = torch.where(
        outside, torch.where(trees, sky * rays.new_tensor([0.35, 0.5, 0.3]), sky), colors[2]
    )
    colors[3] = torch.where(outside & ~trees, colors[2] * 1.1, colors[3])
    colors[0] = torch.where(outside, earth, colors[0])
    colors[1] = torch.where(outside, earth * 0.8, colors[1])

    def pixels(color: Tensor) -> Tensor:
        return color[:, None, None, :]

    low = torch.where(on_floor[..., None], pixels(colors[0]), pixels(colors[2]))
    high = torch.where(on_floor[..., None], pixels(colors[1]), pixels(colors[3]))
    strength = per_image(draws.uniform((count,), (0.0, 0.55)))
    tinted = noise[:, :3].permute(0, 2, 3, 1) * per_image(draws.uniform((count,)) ** 2 * 0.3)[..., None]
    shade = (
        1
        + noise[:, 3] * strength
        + y * per_image(draws.normal((count,), 0.25))
        + x * per_image(draws.normal((count,), 0.2))
    )
    blend = (mix + noise[:, 0] * strength).clamp(0, 1)[..., None]
    painted = low * (1 - blend) + high * blend
    # Patches with edges: leaves, stains, crowds, whatever is out there.
    edge = per_image(draws.log_uniform((count,), (1, 40)))
    level = per_image(draws.normal((count,), 0.35))
    patch = ((noise[:, 1] - level) * edge + 0.5).clamp(0, 1) * per_image(draws.chance((count,), 0.55).float())
    share = (patch * per_image(draws.uniform((count,), (0.2, 1.0))))[..., None]
    painted = painted * (1 - share) + pixels(hues(draws, count, 0.35)) * share
    painted = painted * shade[..., None] * (1 + tinted)
    return painted.clamp(0, 1.3)
