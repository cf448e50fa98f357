# SPDX-License-Identifier: Apache-2.0
"""Rays and solids: depths against a brute-force search, outlines against the pixels that were hit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgepose.training.rendering.primitives import Boxes, Cones, joined, selected  # noqa: E402
from edgepose.training.rendering.raster import box_extents, cone_extents, nearest_surface  # noqa: E402
from edgepose.training.rendering.shadows import cast_shadows  # noqa: E402
from edgepose.training.rendering.vectors import frame_along, frame_of, rotation, unit  # noqa: E402

SIZE = 48


def camera(count: int) -> torch.Tensor:
    """Cameras turned about their axes, as crops turn them."""
    matrix = torch.zeros(count, 3, 3)
    angle = torch.linspace(-0.6, 0.6, count)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 50 * angle.cos()
    matrix[:, 1, 0], matrix[:, 0, 1] = 50 * angle.sin(), -50 * angle.sin()
    matrix[:, 0, 2], matrix[:, 1, 2], matrix[:, 2, 2] = 22.0, 25.0, 1.0
    return matrix


def cones(count: int, seed: int = 0) -> Cones:
    """One stretched capsule in front of each camera."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    axes = frame_along(uniform(-1, 1, count, 3), uniform(-1, 1, count, 3))
    stretch = torch.stack([uniform(0.5, 1.5, count), torch.ones(count), uniform(0.5, 1.5, count)], 1)
    whole = torch.arange(count)
    return Cones(
        image=whole,
        origin=torch.cat([uniform(-0.5, 0.5, count, 2), uniform(1.6, 3.0, count, 1)], 1),
        axes=axes,
        stretch=stretch,
        length=uniform(0.02, 0.8, count),
        radii=uniform(0.08, 0.4, count, 2),
        material=whole,
        beyond=whole,
        cut=torch.zeros(count),
        owner=whole,
        part=whole,
    )


def no_boxes() -> Boxes:
    empty = torch.zeros(0, dtype=torch.int64)
    return Boxes(empty, torch.zeros(0, 3), torch.zeros(0, 3, 3), torch.zeros(0, 3), empty)


def rays(matrix: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    return np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3) @ np.linalg.inv(matrix).T


def brute_depth(solid: Cones, matrix: np.ndarray) -> np.ndarray:
    """Depth along each ray of 600 spheres that shade into one another, in the solid's stretched frame."""
    axes, stretch = solid.axes[0].double().numpy(), solid.stretch[0].double().numpy()
    inverse = (axes / stretch).T
    d = rays(matrix) @ inverse.T
    start = -inverse @ solid.origin[0].double().numpy()
    length, (first, second) = float(solid.length[0]), map(float, solid.radii[0])
    best = np.full(len(d), np.inf)
    for share in np.linspace(0, 1, 600):
        offset = start - np.array([0, share * length, 0])
        radius = first + (second - first) * share
        a, b, c = (d * d).sum(1), d @ offset, offset @ offset - radius**2
        root = b * b - a * c
        t = np.where(root >= 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        best = np.minimum(best, np.where(t > 0, t, np.inf))
    return best


def test_depth_of_capsules_is_that_of_all_spheres_in_them() -> None:
    count = 24
    solids, matrices = cones(count), camera(count)
    surface = nearest_surface(solids, no_boxes(), matrices, SIZE, SIZE)
    depth = surface.depth.reshape(count, -1).double().numpy()
    for place in range(count):
        expected = brute_depth(selected(solids, torch.tensor([place])), matrices[place].double().numpy())
        both = np.isfinite(expected) & np.isfinite(depth[place])
        assert both.sum() > 20
        # Only pixels on the very edge of the outline may be hit by one and missed by the other.
        assert (np.isfinite(expected) != np.isfinite(depth[place])).sum() <= 0.02 * both.sum() + 2
        assert np.quantile(np.abs(expected[both] - depth[place][both]), 0.99) < 2e-3


def test_extents_are_the_tight_boxes_of_outlines() -> None:
    count = 24
    solids, matrices = cones(count, seed=1), camera(count)
    extents = cone_extents(solids, matrices)
    surface = nearest_surface(solids, no_boxes(), matrices, SIZE, SIZE)
    hit = surface.depth.isfinite().reshape(count, SIZE, SIZE)
    for place in range(count):
        rows, columns = hit[place].nonzero().unbind(1)
        x0, y0, x1, y1 = extents[place].tolist()
        low, high = [float(columns.min()), float(rows.min())], [float(columns.max()), float(rows.max())]
        assert x0 <= low[0] and y0 <= low[1] and x1 >= high[0] and y1 >= high[1]
        for edge, met in ((x0, low[0]), (y0, low[1])):
            assert met - max(edge, 0) < 2.5
        for edge, met in ((x1, high[0]), (y1, high[1])):
            assert min(edge, SIZE - 1) - met < 2.5


def test_boxes_meet_rays_where_their_faces_are() -> None:
    """A box that faces the camera fills a rectangle at the depth of its front."""
    matrix = camera(3)[1:2]  # upright
    box = Boxes(
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([[0.1, -0.05, 2.0]]),
        torch.eye(3)[None],
        torch.tensor([[0.3, 0.2, 0.25]]),
        torch.zeros(1, dtype=torch.int64),
    )
    nothing = selected(cones(1), torch.zeros(0, dtype=torch.int64))
    surface = nearest_surface(nothing, box, matrix, SIZE, SIZE)
    depth = surface.depth.reshape(SIZE, SIZE)
    assert torch.allclose(depth[depth.isfinite()], torch.tensor(1.75), atol=1e-5)
    rows, columns = depth.isfinite().nonzero().unbind(1)
    assert columns.min() == np.ceil(50 * -0.2 / 1.75 + 22) and columns.max() == np.floor(50 * 0.4 / 1.75 + 22)
    assert rows.min() == np.ceil(50 * -0.25 / 1.75 + 25) and rows.max() == np.floor(50 * 0.15 / 1.75 + 25)
    x0, y0, x1, y1 = box_extents(box, matrix)[0].tolist()
    assert (x0, x1) == pytest.approx((50 * -0.2 / 1.75 + 22, 50 * 0.4 / 1.75 + 22), abs=1e-3)
    assert (y0, y1) == pytest.approx((50 * -0.25 / 1.75 + 25, 50 * 0.15 / 1.75 + 25), abs=1e-3)


def test_nearest_solid_wins_and_what_is_behind_the_camera_is_gone() -> None:
    near, far = cones(1), cones(1)
    far.origin[:, 2] += 3
    far.origin[:, :2] *= float(far.origin[0, 2] / near.origin[0, 2])
    far.radii.mul_(3)
    surface = nearest_surface(joined([far, near]), no_boxes(), camera(3)[1:2], SIZE, SIZE)
    alone = nearest_surface(near, no_boxes(), camera(3)[1:2], SIZE, SIZE)
    assert (surface.solid[alone.solid >= 0] == 1).all() and (surface.solid == 0).any()
    far.origin[:, 2] = -3
    behind = nearest_surface(far, no_boxes(), camera(3)[1:2], SIZE, SIZE)
    assert (behind.solid == -1).all() and behind.depth.isinf().all()


def test_frames_are_right_handed() -> None:
    generator = torch.Generator().manual_seed(0)
    across, up = torch.randn(50, 3, generator=generator), torch.randn(50, 3, generator=generator)
    for frame in (
        frame_of(across, up),
        frame_along(up, across),
        frame_along(up, up),
        rotation(1, across[:, 0]),
    ):
        assert torch.allclose(frame.transpose(1, 2) @ frame, torch.eye(3).expand(50, 3, 3), atol=1e-4)
        assert torch.allclose(torch.linalg.det(frame), torch.ones(50), atol=1e-4)
    assert torch.allclose(frame_of(across, up)[..., 1], unit(up), atol=1e-6)


def test_shadows_fall_behind_what_stands_in_the_sun() -> None:
    """A ball throws a shadow of its own width away from the sun, and lights its own front only."""
    whole = torch.zeros(1, dtype=torch.int64)
    center, radius = torch.tensor([[0.2, -0.1, 3.0]]), 0.3
    ball = replace(
        selected(cones(1), whole),
        origin=center,
        stretch=torch.ones(1, 3),
        length=torch.full((1,), 1e-3),
        radii=torch.full((1, 2), radius),
    )
    toward = unit(torch.tensor([[0.4, -0.8, -0.3]]))
    shadows = cast_shadows(ball, toward, torch.tensor([[0.0, 0.0, 3.0]]))
    aside = unit(torch.linalg.cross(toward, torch.tensor([[0.0, 0.0, 1.0]])))
    for distance in (0.5, 1.0):
        behind = center - toward * distance
        places = torch.cat([behind, behind + aside * 0.25, behind + aside * 0.36, center + toward * distance])
        assert shadows.sunlit(whole.expand(4), places)[:, 0].tolist() == [0.0, 0.0, 1.0, 1.0]
    sides = torch.cat([center + toward * radius, center - toward * radius])
    assert shadows.sunlit(whole.expand(2), sides)[:, 0].tolist() == [1.0, 0.0]
