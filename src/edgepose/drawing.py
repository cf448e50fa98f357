# SPDX-License-Identifier: Apache-2.0
"""Pictures of poses: box, skeleton, keypoints coloured by body side, and how sure the model is of each.

Windows, files and video do not belong here, nor do surfaces: see `edgepose.mesh`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.images import ImageSource, load_image
from edgepose.keypoint_set import side_of
from edgepose.keypoints import matching_set

if TYPE_CHECKING:
    from edgepose.results import Keypoint, Pose

__all__ = ["draw_poses"]

Color = tuple[int, int, int]

_COLORS: dict[str, Color] = {"left": (255, 140, 26), "right": (31, 160, 255), "middle": (80, 220, 120)}
_BOX: Color = (235, 235, 235)
_OUTLINE: Color = (20, 22, 28)
_TEXT: Color = (255, 255, 255)
_SUBPIXEL = 4  # fractional bits of OpenCV's drawing coordinates
_SPREAD = 0.7  # opacity of the ellipses, which are lines: filled, those of unsure models hide the person
_LARGEST_SCALE = 64
_SMALLEST, _LARGEST = 0.7, 1.6  # of points by their distance


def draw_poses(
    image: ImageSource,
    poses: Sequence[Pose],
    *,
    scale: float = 1.0,
    labels: bool | None = None,
    std: bool = True,
) -> NDArray[np.uint8]:
    """Draw poses on a copy of an image.

    The person's left is orange, the right blue, the middle green. Keypoints without an answer are left out,
    and boxes without one. Of metric poses nearer joints are drawn over farther ones and larger, labels say
    how far away each is, and joints that are answered but not valid are dark with a coloured rim.

    Args:
        image: as `load_image` takes it.
        poses: in pixels of that image.
        scale: size of the result over that of the image.
        labels: write names beside the points, with Z in metres where it is known; None writes them where no
            skeleton fits.
        std: draw an ellipse of two standard deviations around each point.

    Returns:
        `(H * scale, W * scale, 3)` uint8 RGB.

    Raises:
        InvalidInputError: the image is unusable, or `scale` is not in (0, 64].
    """
    canvas = _Canvas(load_image(image), scale)
    for pose in poses:
        canvas.box(pose.box)
    for pose in poses:
        points = [point for point in pose if _is_drawn(point)]
        points.sort(key=_nearness)  # stable: keypoints in pixels keep their order
        if std:
            for point in points:
                canvas.spread(point)
        edges = _edges(pose, points)
        for first, second in edges:
            canvas.bone(first, second)
        sizes = _sizes(points)
        for point, size in zip(points, sizes, strict=True):
            canvas.point(point, size)
        if labels or (labels is None and not edges):
            for point in points:
                canvas.label(point)
    return canvas.pixels


def _is_drawn(point: Keypoint) -> bool:
    # A metric keypoint that is not valid may well be right in the image: its Z is more than bins can say.
    return (point.valid or point.metric) and bool(np.isfinite(point.xy).all())


def _edges(pose: Pose, points: Sequence[Keypoint]) -> list[tuple[Keypoint, Keypoint]]:
    """Pairs of drawable keypoints that the skeleton of the fitting set joins."""
    found = matching_set(pose.names)
    by_name = {point.name: point for point in points}
    edges = found.edges if found else ()
    bones = [(by_name[a], by_name[b]) for a, b in edges if a in by_name and b in by_name]
    return sorted(bones, key=lambda bone: _nearness(bone[0]) + _nearness(bone[1]))


def _nearness(point: Keypoint) -> float:
    """0 to 1 by the distance along the axis, 0 where it is not known."""
    z = float(point.xyz[2])
    return 1 / (1 + z) if z >= 0 else 0.0


def _sizes(points: Sequence[Keypoint]) -> list[float]:
    """How large each point is drawn: by Z against the median of the pose, within bounds; 1 where unknown."""
    depths = np.array([point.xyz[2] for point in points], dtype=np.float64)
    known = depths > 0
    if not known.any():
        return [1.0] * len(points)
    sizes = np.ones(len(points))
    sizes[known] = np.clip(np.median(depths[known]) / depths[known], _SMALLEST, _LARGEST)
    return [float(size) for size in sizes]


class _Canvas:
    """Draws in coordinates of the original image; line widths follow the size of the picture."""

    def __init__(self, image: NDArray[np.uint8], scale: float) -> None:
        import cv2

        if not 0 < scale <= _LARGEST_SCALE:
            raise InvalidInputError(
                f"[draw] expected scale above 0 and at most {_LARGEST_SCALE}; got {scale!r}; 1 keeps the size"
            )
        height, width = image.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size == (width, height):
            resized = image.copy()
        else:
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            resized = np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
        self.pixels: NDArray[np.uint8] = resized
        self._scale = np.array([size[0] / width, size[1] / height])
        self._unit = math.sqrt(size[0] * size[1]) / 400  # 1 px on a picture of 400 x 400
        self._cv2 = cv2

    def box(self, box: Sequence[float]) -> None:
        if not np.isfinite(box).all():
            return
        corner = np.array(box[:2])
        ends = self._place(corner), self._place(corner + np.array(box[2:]))
        for color, width in ((_OUTLINE, 2.2), (_BOX, 1.0)):
            self._cv2.rectangle(self.pixels, *ends, color, self._width(width), self._cv2.LINE_AA, _SUBPIXEL)

    def spread(self, point: Keypoint) -> None:
        axes = 2 * point.std * self._scale
        if not np.isfinite(axes).all() or axes.max() < 1:
            return
        limit = 4.0 * max(self.pixels.shape)
        radii = tuple(round(float(min(axis, limit)) * (1 << _SUBPIXEL)) for axis in axes)
        layer = self.pixels.copy()
        ellipse = (self._place(point.xy), radii, 0, 0, 360, _COLORS[side_of(point.name)])
        self._cv2.ellipse(layer, *ellipse, self._width(1.0), self._cv2.LINE_AA, _SUBPIXEL)
        self._cv2.addWeighted(layer, _SPREAD, self.pixels, 1 - _SPREAD, 0, dst=self.pixels)

    def bone(self, first: Keypoint, second: Keypoint) -> None:
        sides = {side_of(first.name), side_of(second.name)} - {"middle"}
        color = _COLORS[sides.pop() if len(sides) == 1 else "middle"]
        ends = self._place(first.xy), self._place(second.xy)
        for shade, width in ((_OUTLINE, 3.4), (color, 2.0)):
            self._cv2.line(self.pixels, *ends, shade, self._width(width), self._cv2.LINE_AA, _SUBPIXEL)

    def point(self, point: Keypoint, size: float) -> None:
        center, color = self._place(point.xy), _COLORS[side_of(point.name)]
        discs = ((_OUTLINE, 3.6), (color, 2.7)) if point.valid else ((color, 3.6), (_OUTLINE, 1.8))
        for shade, radius in discs:
            scaled = round(size * max(radius * self._unit, radius / 2) * (1 << _SUBPIXEL))
            self._cv2.circle(self.pixels, center, scaled, shade, -1, self._cv2.LINE_AA, _SUBPIXEL)

    def label(self, point: Keypoint) -> None:
        text = f"{point.name} {point.xyz[2]:.2f} m" if np.isfinite(point.xyz[2]) else point.name
        font, size, weight = self._cv2.FONT_HERSHEY_SIMPLEX, max(0.3, 0.36 * self._unit), self._width(0.9)
        (width, ascent), descent = self._cv2.getTextSize(text, font, size, weight)
        # On a dark plate, right of the point, and inside the picture whatever side of it the point is on.
        x, y = point.xy * self._scale + (3 + 5 * self._unit, ascent / 2)
        x = round(min(max(2.0, x), max(2.0, self.pixels.shape[1] - width - 3.0)))
        y = round(min(max(ascent + 2.0, y), max(ascent + 2.0, self.pixels.shape[0] - descent - 3.0)))
        plate = (x - 2, y - ascent - 2), (x + width + 1, y + descent)
        self._cv2.rectangle(self.pixels, *plate, _OUTLINE, -1)
        self._cv2.putText(self.pixels, text, (x, y), font, size, _TEXT, weight, self._cv2.LINE_AA)

    def _place(self, xy: NDArray[np.float64]) -> tuple[int, int]:
        """OpenCV's fixed-point position of a point, kept near the picture so that it cannot overflow."""
        limit = 16.0 * max(self.pixels.shape)
        x, y = np.clip((xy + 0.5) * self._scale - 0.5, -limit, limit) * (1 << _SUBPIXEL)
        return round(float(x)), round(float(y))

    def _width(self, width: float) -> int:
        return max(1, round(width * self._unit))
