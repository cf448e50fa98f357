# SPDX-License-Identifier: Apache-2.0
"""A mesh drawn over the image of the camera that it stands before.

Textures, shadows and windows do not belong here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.images import ImageSource, load_image
from edgepose.mesh.arrays import checked_faces, checked_points

__all__ = ["draw_mesh"]

_NEAR = 0.05
"""Metres. What is nearer than this, or behind the camera, is cut off."""

_AMBIENT = 0.25  # share of the light that does not depend on the angle to the camera
_SUBPIXEL = 4  # fractional bits of OpenCV's drawing coordinates
_FARTHEST = 1e6  # pixels: beyond, positions are brought nearer, or they would overflow


def draw_mesh(
    image: ImageSource,
    vertices: ArrayLike,
    faces: ArrayLike,
    camera: Camera,
    *,
    color: tuple[int, int, int] = (170, 190, 215),
    opacity: float = 0.85,
) -> NDArray[np.uint8]:
    """Draw a mesh on a copy of an image, lit from the camera, the farthest triangles first.

    Edges are straight in the picture, also where a lens bends them: fine for triangles of a few pixels.
    Triangles that cut through each other may cover each other wrongly.

    Args:
        image: as `load_image` takes it, of the camera's size.
        vertices: `(V, 3)` float, metres, camera frame.
        faces: `(F, 3)` int, places of vertices, either way round.
        camera: that took the image; its distortion is followed.
        color: RGB.
        opacity: 0 to 1.

    Returns:
        `(H, W, 3)` uint8 RGB.

    Raises:
        InvalidInputError: the image or an array is unusable, the image is not of the camera's size, or
            `opacity` is outside of 0 to 1.
    """
    import cv2

    pixels = load_image(image)
    camera.check_image((pixels.shape[1], pixels.shape[0]))
    if not 0 <= opacity <= 1:
        raise InvalidInputError(f"[draw] expected an opacity from 0 to 1; got {opacity!r}; 1 hides the image")
    points = checked_points("vertices", vertices)
    corners = points[checked_faces(faces, len(points))]  # (F, 3, 3)
    corners = _cut_near(corners)
    layer = pixels.copy()
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centers = corners.mean(axis=1)
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(centers, axis=1)
    facing = np.abs((normals * centers).sum(axis=1)) / np.maximum(lengths, 1e-300)
    shades = np.outer(_AMBIENT + (1 - _AMBIENT) * facing, color)
    seen = camera.project(corners)  # (F, 3, 2); NaN where the lens does not look
    low, high = seen.min(axis=1), seen.max(axis=1)
    inside = (high > 0).all(axis=1) & (low < camera.size).all(axis=1)  # False for NaN
    order = np.flatnonzero(inside)
    order = order[np.argsort(-centers[order, 2], kind="stable")]
    fixed = np.round(np.clip(seen[order], -_FARTHEST, _FARTHEST) * (1 << _SUBPIXEL)).astype(np.int32)
    for triangle, shade in zip(fixed, shades[order].tolist(), strict=True):
        cv2.fillConvexPoly(layer, triangle, shade, cv2.LINE_8, _SUBPIXEL)
    return np.asarray(cv2.addWeighted(layer, opacity, pixels, 1 - opacity, 0), dtype=np.uint8)


def _cut_near(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangles `(F, 3, 3)` without what is nearer than `_NEAR`: those across it become one or two."""
    front = corners[..., 2] >= _NEAR
    count = front.sum(axis=1)
    whole = corners[count == 3]
    # Turned so that the one corner on its own side is the first.
    alone = [np.argmax(front[count == 1], axis=1), np.argmin(front[count == 2], axis=1)]
    (tip, a, b), (lost, c, d) = (
        np.moveaxis(np.take_along_axis(part, ((first[:, None] + np.arange(3)) % 3)[..., None], axis=1), 1, 0)
        for part, first in zip((corners[count == 1], corners[count == 2]), alone, strict=True)
    )
    tips = np.stack([tip, _crossing(tip, a), _crossing(tip, b)], axis=1)
    on_c, on_d = _crossing(c, lost), _crossing(d, lost)
    stumps = [np.stack([on_c, c, d], axis=1), np.stack([on_c, d, on_d], axis=1)]
    return np.concatenate([whole, tips, *stumps])


def _crossing(kept: NDArray[np.float64], cut: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where lines `(N, 3)` from points in front of the near plane to points before it meet it."""
    share = (kept[:, 2:] - _NEAR) / (kept[:, 2:] - cut[:, 2:])
    return kept + share * (cut - kept)
