# SPDX-License-Identifier: Apache-2.0
"""Meshes drawn over images: where, which in front, how bright, and what is cut off."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.mesh import draw_mesh
from edgepose.mesh.rendering import _NEAR, _cut_near

from . import capsule_body

CAMERA = Camera(300, 300, 160, 120, 320, 240)
GREY = np.full((240, 320, 3), 128, np.uint8)
WHITE = (255, 255, 255)


def square(z: float, side: float = 0.4, x: float = 0.0, y: float = 0.0) -> NDArray[np.float64]:
    half = side / 2
    return np.array([[x + a * half, y + b * half, z] for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


TWO = np.array([[0, 1, 2], [0, 2, 3]])


def drawn(vertices: NDArray[np.float64], faces: Any = TWO, **options: Any) -> NDArray[np.bool_]:
    picture = draw_mesh(GREY, vertices, faces, CAMERA, opacity=1.0, color=WHITE, **options)
    assert picture.shape == GREY.shape and picture.dtype == np.uint8
    return (picture != 128).any(axis=-1)


def test_a_square_is_where_the_camera_sees_it() -> None:
    seen = drawn(square(1.0, x=0.1))
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert abs(columns[0] - (160 + 30 - 60)) <= 1 and abs(columns[-1] - (160 + 30 + 60)) <= 1
    assert abs(rows[0] - 60) <= 1 and abs(rows[-1] - 180) <= 1
    assert seen[70:170, 140:240].all()
    assert (GREY == 128).all()


def test_either_way_round_and_lit_from_the_camera() -> None:
    facing = draw_mesh(GREY, square(1.0), TWO, CAMERA, opacity=1.0, color=WHITE)
    back = draw_mesh(GREY, square(1.0), TWO[:, ::-1], CAMERA, opacity=1.0, color=WHITE)
    assert np.array_equal(facing, back) and facing[120, 160, 0] >= 250
    tilted = square(1.0) * (1, 1, 0) + (0, 0, 1.0)
    tilted[:, 2] += 2 * tilted[:, 0]
    assert draw_mesh(GREY, tilted, TWO, CAMERA, opacity=1.0, color=WHITE)[120, 160, 0] < 200


def test_what_is_nearer_covers() -> None:
    tilted = square(2.0, side=3.0)
    tilted[:, 2] += 0.5 * tilted[:, 0]
    vertices = np.concatenate([square(0.8, side=0.2), tilted])
    for faces in (np.concatenate([TWO, TWO + 4]), np.concatenate([TWO + 4, TWO])):
        picture = draw_mesh(GREY, vertices, faces, CAMERA, opacity=1.0, color=WHITE)
        assert picture[120, 160, 0] >= 250 and picture[30, 160, 0] < 240


def test_opacity_mixes() -> None:
    picture = draw_mesh(GREY, square(1.0), TWO, CAMERA, opacity=0.5, color=(228, 128, 28))
    np.testing.assert_allclose(picture[120, 160], (178, 128, 78), atol=3)
    assert np.array_equal(draw_mesh(GREY, square(1.0), TWO, CAMERA, opacity=0.0), GREY)


def test_what_is_behind_or_beside_is_not_drawn() -> None:
    for vertices in (square(-1.0), square(0.02), square(1.0, x=5.0), square(1.0, y=-5.0)):
        assert not drawn(vertices).any()


def test_what_reaches_behind_the_camera_is_cut() -> None:
    """A floor 0.5 m below, from 4 m in front to 4 m behind: it fills the picture below the horizon."""
    floor = np.array([[-50, 0.5, 4], [50, 0.5, 4], [50, 0.5, -4], [-50, 0.5, -4]], dtype=np.float64)
    seen = drawn(floor)
    horizon = 120 + 300 * 0.5 / 4
    assert not seen[: int(horizon) - 1].any() and seen[int(horizon) + 2 :].all()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=3, max_size=3))
def test_cutting_keeps_the_part_in_front(corners: list[tuple[float, float, float]]) -> None:
    triangle = np.array([corners])
    kept = _cut_near(triangle)
    assert (kept[..., 2] >= _NEAR - 1e-9).all()
    front = int((triangle[0, :, 2] >= _NEAR).sum())
    assert len(kept) == {0: 0, 1: 1, 2: 2, 3: 1}[front]

    def area(triangles: NDArray[np.float64]) -> float:
        sides = triangles[:, 1:] - triangles[:, :1]
        return float(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2)

    # By counting: points of the triangle on a grid of its own coordinates.
    a, b = np.meshgrid(np.linspace(0, 1, 61), np.linspace(0, 1, 61))
    within = a + b <= 1
    points = (
        triangle[0, 0]
        + a[within, None] * (triangle[0, 1] - triangle[0, 0])
        + b[within, None] * (triangle[0, 2] - triangle[0, 0])
    )
    share = float((points[:, 2] >= _NEAR).mean())
    assert abs(area(kept) - share * area(triangle)) <= 0.06 * area(triangle) + 1e-12


def test_a_bent_image_gets_a_bent_mesh() -> None:
    bent = Camera(300, 300, 160, 120, 320, 240, (-0.3, 0.1, 0, 0))
    vertices, faces = square(1.0, side=0.02, x=0.4, y=0.3), TWO
    picture = draw_mesh(GREY, vertices, faces, bent, opacity=1.0, color=WHITE)
    rows, columns = np.nonzero((picture != 128).any(axis=-1))
    np.testing.assert_allclose([columns.mean(), rows.mean()], bent.project([0.4, 0.3, 1.0]), atol=1)


def test_a_body_covers_its_joints() -> None:
    vertices, faces = capsule_body.mesh()
    away = np.array([0.0, -0.15, 2.6])
    seen = drawn(vertices + away, faces)
    for u, v in CAMERA.project(capsule_body.joints() + away).round().astype(int):
        assert seen[v, u]
    assert 0.03 < seen.mean() < 0.4


def test_points_far_away_do_not_overflow() -> None:
    assert drawn(np.array([[0, 0, 1], [1e12, 0, 1], [0, 1e12, 1]], dtype=np.float64), [[0, 1, 2]]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(image=np.zeros((240, 321, 3), np.uint8)), "camera's 320x240 px; got 321x240 px"),
        (dict(image=GREY.astype(np.float32)), "got float32"),
        (dict(vertices=[[0, 0, math.nan]]), "finite vertices"),
        (dict(faces=[[0, 1, 4]]), "vertices 0 to 3; got 0 to 4"),
        (dict(opacity=1.5), "opacity from 0 to 1; got 1.5"),
    ],
)
def test_unusable_arguments(arguments: dict[str, Any], message: str) -> None:
    usable: dict[str, Any] = {"image": GREY, "vertices": square(1.0), "faces": TWO, "camera": CAMERA}
    with pytest.raises(InvalidInputError, match=message):
        draw_mesh(**{**usable, **arguments})
