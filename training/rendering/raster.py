# SPDX-License-Identifier: Apache-2.0
"""From solids to the nearest surface of each pixel: flat lists of (pixel, solid) pairs and a z-buffer.

Each solid meets the pixels of its own projected box only, and rays meet solids in closed form. Colours do
not belong here.

Source:
    Projected boxes: the dual quadric of an ellipsoid projects to the dual conic of its outline (Hartley and
    Zisserman, Multiple View Geometry, 8.3). Ray and tapered capsule: a quadratic for the cone between two
    spheres, one for each sphere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.training.rendering.primitives import Boxes, Cones

__all__ = ["NEAR", "Surface", "box_extents", "cone_extents", "nearest_surface"]

NEAR = 0.05
"""Metres: nothing nearer than this is seen."""

_ENTIRE = 1e7


@dataclass(frozen=True, slots=True)
class Surface:
    """What the pixels of B images see first."""

    depth: Tensor
    """(B * H * W,) float32: z in metres, infinite where there is nothing."""
    solid: Tensor
    """(B * H * W,) int64: row of the cones, or of the boxes counted on after the cones; -1 for nothing."""


def cone_extents(cones: Cones, projection: Tensor) -> Tensor:
    """Boxes around the outlines of tapered capsules.

    Args:
        cones: N of them.
        projection: (B, 3, 3): camera matrices, pixels; last row 0, 0, 1.

    Returns:
        (N, 4): x0, y0, x1, y1 in pixels. The whole plane where a solid reaches behind the nearest plane;
        empty (x1 < x0) where it is altogether behind it.
    """
    matrix = projection[cones.image]
    spread = matrix @ cones.axes * cones.stretch[:, None, :]
    along = cones.axes[:, :, 1]
    centers = torch.stack([cones.origin, cones.origin + along * cones.length[:, None]], dim=1)
    seen = centers @ matrix.transpose(1, 2)  # (N, 2, 3)
    gram = spread @ spread.transpose(1, 2)  # (N, 3, 3)
    conic = seen[..., :, None] * seen[..., None, :] - cones.radii[..., None, None] ** 2 * gram[:, None]
    last = conic[..., 2, 2].clamp(min=1e-9)
    lows, highs = [], []
    for axis in (0, 1):
        middle = conic[..., axis, 2]
        root = (middle**2 - conic[..., axis, axis] * last).clamp(min=0).sqrt()
        lows.append((middle - root) / last)
        highs.append((middle + root) / last)
    low = torch.stack(lows, dim=-1).amin(1)
    high = torch.stack(highs, dim=-1).amax(1)
    reach = cones.radii * gram[:, 2, 2].sqrt()[:, None]
    nearest = (seen[..., 2] - reach).amin(1)
    farthest = (seen[..., 2] + reach).amax(1)
    return _extents(low, high, nearest, farthest)


def box_extents(boxes: Boxes, projection: Tensor) -> Tensor:
    """As `cone_extents`, of boxes."""
    signs = torch.tensor(
        [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)], device=boxes.half.device
    )
    corners = boxes.center[:, None] + (signs * boxes.half[:, None]) @ boxes.axes.transpose(1, 2)
    seen = corners @ projection[boxes.image].transpose(1, 2)
    flat = seen[..., :2] / seen[..., 2:].clamp(min=1e-6)
    return _extents(flat.amin(1), flat.amax(1), seen[..., 2].amin(1), seen[..., 2].amax(1))


def _extents(low: Tensor, high: Tensor, nearest: Tensor, farthest: Tensor) -> Tensor:
    crosses = (nearest < NEAR)[:, None]
    low, high = low.masked_fill(crosses, -_ENTIRE), high.masked_fill(crosses, _ENTIRE)
    behind = (farthest <= NEAR)[:, None]
    return torch.cat([low.masked_fill(behind, 1.0), high.masked_fill(behind, 0.0)], dim=1)


def _pairs(image: Tensor, extents: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every pixel of every box: which row, column and row of the pixel, its place in the flat images."""
    limits = extents.new_tensor([width, height])
    first = extents[:, :2].ceil().clamp(min=0).minimum(limits)
    last = extents[:, 2:].floor().clamp(min=-1).minimum(limits - 1)
    sides = (last - first + 1).clamp(min=0).long()
    wide = sides[:, 0]
    counts = wide * sides[:, 1]
    rows = torch.arange(len(counts), device=counts.device)
    which = torch.repeat_interleave(rows, counts)
    begin = counts.cumsum(0) - counts
    origin = first.long()
    place = torch.arange(len(which), device=counts.device) - begin[which]
    across = wide[which]
    down = torch.div(place, across, rounding_mode="floor")
    x = place - down * across + origin[:, 0][which]
    y = down + origin[:, 1][which]
    return which, x.float(), y.float(), (image * (height * width))[which] + y * width + x


def _meet_cones(cones: Cones, unprojection: Tensor, which: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Depth at which each pair's ray enters its cone; infinite where it misses."""
    inverse = cones.axes.transpose(1, 2) / cones.stretch[:, :, None]
    rays = inverse @ unprojection[cones.image]  # (N, 3, 3): pixels to local directions of depth 1
    start = -(inverse @ cones.origin[:, :, None])[..., 0]  # (N, 3): the camera, seen from the first centre
    first, second = cones.radii.unbind(1)
    length, taper = cones.length, first - second
    m0 = length**2
    m1 = length * start[:, 1]
    m5 = (start**2).sum(1)
    d2 = (m0 - taper**2).clamp(min=1e-12)
    k0 = d2 * m5 - m1**2 + 2 * m1 * taper * first - m0 * first**2
    far = m5 - 2 * m1 + m0 - second**2
    table = torch.cat(
        [
            rays.reshape(-1, 9).T,
            start.T,
            torch.stack([length, d2, m1, taper * first, k0, m5 - first**2, far]),
        ]
    )
    column = table.index_select(1, which)  # (19, pairs)
    dx = column[0] * x + column[1] * y + column[2]
    dy = column[3] * x + column[4] * y + column[5]
    dz = column[6] * x + column[7] * y + column[8]
    dd = dx * dx + dy * dy + dz * dz
    m2 = column[12] * dy
    m3 = dx * column[9] + dy * column[10] + dz * column[11]
    d2, m1, bulge, k0, near_end, far_end = (
        column[13],
        column[14],
        column[15],
        column[16],
        column[17],
        column[18],
    )
    # The cone between the spheres.
    k2 = d2 * dd - m2 * m2
    k1 = d2 * m3 + (bulge - m1) * m2
    root = k1 * k1 - k0 * k2
    t = (-root.clamp(min=0).sqrt() - k1) / k2
    along = m1 - bulge + t * m2
    cone = (root >= 0) & (along >= 0) & (along <= d2) & (t > NEAR)
    depth = torch.where(cone, t, torch.inf)
    # The spheres, where the ray meets their free halves.
    root = m3 * m3 - dd * near_end
    t = (-root.clamp(min=0).sqrt() - m3) / dd
    sphere = (root >= 0) & (m1 - bulge + t * m2 < 0) & (t > NEAR)
    depth = torch.where(sphere, torch.minimum(t, depth), depth)
    m3 = m3 - m2
    root = m3 * m3 - dd * far_end
    t = (-root.clamp(min=0).sqrt() - m3) / dd
    sphere = (root >= 0) & (m1 - bulge + t * m2 > d2) & (t > NEAR)
    return torch.where(sphere, torch.minimum(t, depth), depth)


def _meet_boxes(boxes: Boxes, unprojection: Tensor, which: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Depth at which each pair's ray enters its box; infinite where it misses."""
    inverse = boxes.axes.transpose(1, 2)
    rays = (inverse @ unprojection[boxes.image]).reshape(-1, 9).T
    start = -(inverse @ boxes.center[:, :, None])[..., 0].T
    column = torch.cat([rays, start, boxes.half.T]).index_select(1, which)
    enter, leave = torch.full_like(x, NEAR), torch.full_like(x, torch.inf)
    for axis in range(3):
        d = column[3 * axis] * x + column[3 * axis + 1] * y + column[3 * axis + 2]
        d = torch.where(d.abs() < 1e-9, 1e-9, d)
        low = (-column[12 + axis] - column[9 + axis]) / d
        high = (column[12 + axis] - column[9 + axis]) / d
        enter = torch.maximum(enter, torch.minimum(low, high))
        leave = torch.minimum(leave, torch.maximum(low, high))
    return torch.where((enter < leave) & (enter > NEAR), enter, torch.inf)


def nearest_surface(cones: Cones, boxes: Boxes, projection: Tensor, height: int, width: int) -> Surface:
    """The first surface along the ray of each pixel centre.

    Args:
        cones: tapered capsules, N.
        boxes: boxes, M.
        projection: (B, 3, 3) float32: camera matrices, pixels with centres at integers; last row 0, 0, 1.
        height: of the images, pixels.
        width: of the images, pixels.
    """
    pixels = len(projection) * height * width
    unprojection = torch.linalg.inv(projection)

    which, x, y, place = _pairs(cones.image, cone_extents(cones, projection), height, width)
    depth = _meet_cones(cones, unprojection, which, x, y)
    hit = depth.isfinite().nonzero()[:, 0]
    found = [(place[hit], depth[hit], which[hit])]
    which, x, y, place = _pairs(boxes.image, box_extents(boxes, projection), height, width)
    depth = _meet_boxes(boxes, unprojection, which, x, y)
    hit = depth.isfinite().nonzero()[:, 0]
    found.append((place[hit], depth[hit], which[hit] + len(cones.image)))

    place, depth, solid = (torch.cat(parts) for parts in zip(*found, strict=True))
    nearest = torch.full((pixels,), torch.inf, device=depth.device)
    nearest.scatter_reduce_(0, place, depth, "amin")
    first = depth == nearest[place]
    winner = torch.full((pixels,), -1, dtype=torch.int64, device=depth.device)
    winner.scatter_reduce_(0, place[first], solid[first], "amax")
    return Surface(nearest, winner)
