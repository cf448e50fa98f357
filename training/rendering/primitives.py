# SPDX-License-Identifier: Apache-2.0
"""The two solids everything is made of, many of them in one table: tapered capsules and boxes.

What they stand for and how they are coloured does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

__all__ = ["Boxes", "Cones", "joined", "selected"]


@dataclass(frozen=True, slots=True)
class Cones:
    """N tapered capsules: two spheres and the cone that touches both, stretched along the axes of a frame.

    Camera frame: x right, y down, z forward, metres.
    """

    image: Tensor
    """(N,) int64: which image of the batch."""
    origin: Tensor
    """(N, 3): centre of the first sphere."""
    axes: Tensor
    """(N, 3, 3): columns are the frame's x, y, z; the second sphere lies along y."""
    stretch: Tensor
    """(N, 3): factors along x, y, z; y's is 1."""
    length: Tensor
    """(N,): from the first centre to the second."""
    radii: Tensor
    """(N, 2): of the first and the second sphere, before stretching."""
    material: Tensor
    """(N,) int64: row of the scene's table of materials for points before `cut`."""
    beyond: Tensor
    """(N,) int64: row for points at or after `cut`."""
    cut: Tensor
    """(N,): distance along y from the first centre."""
    owner: Tensor
    """(N,) int64: row of the scene's people, -1 for things."""
    part: Tensor
    """(N,) int64: what part of a body it is, see `solids.PARTS`; -1 for things."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """N boxes of any orientation, camera frame."""

    image: Tensor
    """(N,) int64."""
    center: Tensor
    """(N, 3)."""
    axes: Tensor
    """(N, 3, 3): columns are the directions of its edges."""
    half: Tensor
    """(N, 3): half the lengths of its edges."""
    material: Tensor
    """(N,) int64: row of the scene's table of materials."""


def joined(tables: list[Cones]) -> Cones:
    """One table of all rows, in order."""
    return Cones(*(torch.cat([getattr(table, field.name) for table in tables]) for field in fields(Cones)))


def selected(table: Cones, rows: Tensor) -> Cones:
    """The rows of a mask or of places."""
    return Cones(*(getattr(table, field.name)[rows] for field in fields(Cones)))
