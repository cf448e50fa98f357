# SPDX-License-Identifier: Apache-2.0
"""Shadows that people cast on themselves, on each other and on the floor: the scene as the sun sees it.

How much light is left in a shadow is decided by `shading`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgepose.training.rendering.primitives import Boxes, Cones
from edgepose.training.rendering.raster import nearest_surface
from edgepose.training.rendering.vectors import frame_along

__all__ = ["Shadows", "cast_shadows"]

_CELLS = 128
_AWAY = 12.0  # metres from the people to the place the sun looks from
_REGION = 3.0  # metres across that it sees
_BIAS = 0.05  # metres behind the lit surface that are still lit
_FADE = 0.03  # metres over which a shadow sets in


@dataclass(frozen=True, slots=True)
class Shadows:
    """Depth maps of B scenes, as seen from their suns."""

    axes: Tensor
    """(B, 3, 3): rows are the sun's x, y, z in the camera frame; z is the direction of the light."""
    place: Tensor
    """(B, 3): where the sun looks from, camera frame."""
    focal: float
    """Cells."""
    depth: Tensor
    """(B * CELLS * CELLS,) metres from that place."""

    def sunlit(self, image: Tensor, points: Tensor) -> Tensor:
        """`(N, 1)` float for points `(N, 3)` of images `(N,)`: 1 in the sun, 0 in shadow, soft edges."""
        seen = (self.axes[image] @ (points - self.place[image])[..., None])[..., 0]
        cell = (seen[:, :2] / seen[:, 2:] * self.focal + _CELLS / 2).clamp(0, _CELLS - 1.001)
        corner = cell.floor()
        share = cell - corner
        place = (image * _CELLS + corner[:, 1].long()) * _CELLS + corner[:, 0].long()
        limit = seen[:, 2] - _BIAS
        lit = torch.zeros_like(limit)
        for down in (0, 1):
            for across in (0, 1):
                weight = (share[:, 0] if across else 1 - share[:, 0]) * (
                    share[:, 1] if down else 1 - share[:, 1]
                )
                nearest = self.depth[place + down * _CELLS + across]
                lit += weight * ((nearest - limit) / _FADE + 1).clamp(0, 1)
        return lit[:, None]


def cast_shadows(cones: Cones, toward: Tensor, center: Tensor) -> Shadows:
    """Look at the scenes from their suns.

    Args:
        cones: of the scenes.
        toward: `(B, 3)` directions to the suns, camera frame.
        center: `(B, 3)` middle of what casts shadows, metres, camera frame.
    """
    front = toward.new_tensor([0.3, 0.9, 0.3]).expand_as(toward)
    frame = frame_along(-toward, front)  # columns x, y along the light, z
    axes = torch.stack([frame[..., 2], frame[..., 0], frame[..., 1]], dim=1)
    place = center + toward * _AWAY
    turned = axes[cones.image]
    moved = replace(
        cones,
        origin=(turned @ (cones.origin - place[cones.image])[..., None])[..., 0],
        axes=turned @ cones.axes,
    )
    focal = _CELLS / _REGION * _AWAY
    projection = torch.zeros(len(toward), 3, 3, device=toward.device)
    projection[:, 0, 0] = projection[:, 1, 1] = focal
    projection[:, :2, 2] = _CELLS / 2
    projection[:, 2, 2] = 1
    nothing = cones.image[:0]
    empty = Boxes(nothing, cones.origin[:0], cones.axes[:0], cones.origin[:0], nothing)
    surface = nearest_surface(moved, empty, projection, _CELLS, _CELLS)
    return Shadows(axes, place, focal, surface.depth)
