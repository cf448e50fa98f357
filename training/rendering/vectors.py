# SPDX-License-Identifier: Apache-2.0
"""Directions, frames and rotations in three dimensions.

Bodies and cameras do not belong here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["frame_along", "frame_of", "rotation", "unit"]


def unit(vectors: Tensor) -> Tensor:
    """`(..., 3)`, length 1; the zero vector stays zero."""
    return F.normalize(vectors, dim=-1, eps=1e-9)


def frame_of(across: Tensor, up: Tensor) -> Tensor:
    """The right-handed frame whose y axis is `up` and whose x axis is nearest to `across`.

    Args:
        across: `(..., 3)`, not parallel to `up`.
        up: `(..., 3)`.

    Returns:
        `(..., 3, 3)`, columns x, y, z, each of length 1.
    """
    y = unit(up)
    z = unit(torch.linalg.cross(across.expand_as(y), y))
    return torch.stack([torch.linalg.cross(y, z), y, z], dim=-1)


def frame_along(along: Tensor, front: Tensor) -> Tensor:
    """The right-handed frame whose y axis is `along` and whose z axis is nearest to `front`.

    Where the two are parallel, z is any direction across `along`.

    Args:
        along: `(..., 3)`.
        front: `(..., 3)`.

    Returns:
        `(..., 3, 3)`, columns x, y, z, each of length 1.
    """
    y = unit(along)
    spare = torch.roll(y, 1, dims=-1) * y.new_tensor([1.0, -1.0, 1.0])
    z = front + 1e-3 * spare
    for _ in range(2):  # once more: of a nearly parallel vector hardly more than rounding is left
        z = unit(z - (z * y).sum(-1, keepdim=True) * y)
    return torch.stack([torch.linalg.cross(y, z), y, z], dim=-1)


def rotation(axis: int, angle: Tensor) -> Tensor:
    """Rotation about a coordinate axis, counter-clockwise as seen against the axis.

    Args:
        axis: 0, 1 or 2 for x, y, z.
        angle: `(...)`, radians.

    Returns:
        `(..., 3, 3)`.
    """
    cos, sin = angle.cos(), angle.sin()
    turned = torch.zeros(*angle.shape, 3, 3, dtype=angle.dtype, device=angle.device)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turned[..., axis, axis] = 1
    turned[..., first, first] = cos
    turned[..., second, second] = cos
    turned[..., second, first] = sin
    turned[..., first, second] = -sin
    return turned
