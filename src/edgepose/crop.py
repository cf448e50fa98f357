# SPDX-License-Identifier: Apache-2.0
"""From a person's box to the pixels of the vision encoder, and from normalised answers back to image pixels.

Reading images does not belong here, nor does what an answer means in tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError

__all__ = ["Box", "SquareCrop", "normalise"]

Box = tuple[float, float, float, float]
"""(x, y, width, height) in pixels of the image, (x, y) the top-left corner, as COCO writes it."""

_PIXEL_STD = np.float32(200.0)  # the published code keeps side / 200 in float32 and multiplies it out again


@dataclass(frozen=True, slots=True)
class SquareCrop:
    """A square of an image, without rotation, as the published systems cut it around a person.

    Pixel coordinates follow OpenCV: integer coordinates are pixel centres, x right, y down. The square may
    reach beyond the image, where it is black. Numbers are rounded to float32, in which the published code
    keeps them.

    Raises:
        InvalidInputError: a number is not finite, or the side is not above 0.
    """

    center_x: float
    """Centre of the square, pixels of the image; a float32 value."""
    center_y: float
    side: float
    """Side of the square, pixels of the image; a float32 value, above 0."""

    def __post_init__(self) -> None:
        numbers = tuple(float(np.float32(v)) for v in (self.center_x, self.center_y, self.side))
        if not all(map(math.isfinite, numbers)) or numbers[2] <= 0:
            raise InvalidInputError(
                "[box] expected a square of finite centre and a side above 0; got (center_x, center_y, side) "
                f"= {(self.center_x, self.center_y, self.side)}; pass pixels of the image"
            )
        for name, number in zip(("center_x", "center_y", "side"), numbers, strict=True):
            object.__setattr__(self, name, number)

    @classmethod
    def around(
        cls, box: Sequence[float] | NDArray[Any] | SquareCrop, image_size: tuple[int, int], scale: float = 1.0
    ) -> SquareCrop:
        """The square to cut for what a user passes as a box: a square as it is, else as `from_box`."""
        return box if isinstance(box, SquareCrop) else cls.from_box(box, image_size, scale)

    @classmethod
    def from_box(
        cls, box: Sequence[float] | NDArray[Any], image_size: tuple[int, int], scale: float = 1.0
    ) -> SquareCrop:
        """The square around a box.

        The box is clipped to the image first: a negative corner moves to 0 without shortening the box, the
        far corner is `corner + size - 1` and at most the last pixel. The longer side of what is left, times
        `scale`, is the side of the square.

        Args:
            box: (x, y, width, height), pixels of the image.
            image_size: (width, height) of the image, pixels.
            scale: side of the square over the longer side of the clipped box.

        Raises:
            InvalidInputError: the box does not have four finite numbers or has no area, lies outside the
                image, or is a single pixel after clipping.

        Source:
            LocLLM, datasets/coco.py: the box clean-up of the data set, centre and scale kept in float32.
        """
        x, y, w, h = _checked_box(box)
        width, height = image_size
        x1, y1 = max(0.0, x), max(0.0, y)
        x2 = min(width - 1.0, x1 + max(0.0, w - 1.0))
        y2 = min(height - 1.0, y1 + max(0.0, h - 1.0))
        if x2 < x1 or y2 < y1 or x + w <= 0 or y + h <= 0:
            raise InvalidInputError(
                f"[box] expected a box that meets the image of {width}x{height} px; got (x, y, width, "
                f"height) = {(x, y, w, h)}, which lies outside; pass pixels of this image"
            )
        clipped_w, clipped_h = x2 - x1, y2 - y1
        longer = max(clipped_w, clipped_h)
        stored = np.float32(longer / float(_PIXEL_STD)) * np.float32(scale)
        side = float(stored * _PIXEL_STD)
        if not side > 0:
            raise InvalidInputError(
                f"[box] expected a box of more than one pixel in the image of {width}x{height} px; got (x, "
                f"y, width, height) = {(x, y, w, h)}, which leaves a side of {longer:g} px; pass a larger box"
            )
        center = np.float32(x1 + clipped_w * 0.5), np.float32(y1 + clipped_h * 0.5)
        return cls(float(center[0]), float(center[1]), side)

    @property
    def box(self) -> Box:
        """(x, y, width, height) of the square, pixels of the image."""
        half = self.side / 2
        return self.center_x - half, self.center_y - half, self.side, self.side

    def matrix(self, size: int) -> NDArray[np.float64]:
        """Affine map from the image to a crop of `size` pixels.

        Returns:
            `(2, 3)` float64, `(u, v) = matrix @ (x, y, 1)`: image pixels to crop pixels.

        Source:
            LocLLM, datasets/coco.py: three corresponding points in float32, solved by OpenCV. The points are
            the centre, the middle of the upper edge, and the third corner of the right angle at that point.
        """
        import cv2

        return np.asarray(cv2.getAffineTransform(self._points(), _crop_points(size)), dtype=np.float64)

    def warp(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Cut the square out of an image, bilinear, black outside of it.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            size: side of the result, pixels.

        Returns:
            `(size, size, 3)` uint8 RGB.
        """
        import cv2

        warped = cv2.warpAffine(
            image, self.matrix(size), (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        return np.asarray(warped, dtype=np.uint8)

    def pixels(
        self, image: NDArray[np.uint8], size: int, *, mean: Sequence[float], std: Sequence[float]
    ) -> NDArray[np.float32]:
        """Input of the vision encoder: `normalise(warp(image, size), mean, std)`.

        Returns:
            `(1, 3, size, size)` float32.
        """
        return normalise(self.warp(image, size), mean, std)

    def to_image(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Image coordinates of normalised crop coordinates: `x = center_x + (x_norm - 0.5) * side`.

        Args:
            xy: `(..., 2)` float, 0 to 1 across the crop.

        Returns:
            `(..., 2)` float64, pixels of the image. NaN stays NaN.
        """
        center: NDArray[np.float64] = np.array([self.center_x, self.center_y])
        placed: NDArray[np.float64] = center + (np.asarray(xy, dtype=np.float64) - 0.5) * self.side
        return placed

    def to_crop(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Normalised crop coordinates of image coordinates: the inverse of `to_image`.

        Args:
            xy: `(..., 2)` float, pixels of the image.

        Returns:
            `(..., 2)` float64, 0 to 1 inside the crop.
        """
        center: NDArray[np.float64] = np.array([self.center_x, self.center_y])
        return (np.asarray(xy, dtype=np.float64) - center) / self.side + 0.5

    def _points(self) -> NDArray[np.float32]:
        center = np.array([self.center_x, self.center_y], dtype=np.float32)
        return _right_angle(center, np.float32(self.side) * -0.5)


def normalise(crop: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Pixels as the vision encoder takes them: `(crop / 255 - mean) / std`, every step in float32.

    Args:
        crop: `(size, size, 3)` uint8 RGB.
        mean: (3,) RGB, subtracted.
        std: (3,) RGB, divided by.

    Returns:
        `(1, 3, size, size)` float32, C order; bit for bit what torchvision's ToTensor and Normalize give.
    """
    planes = np.ascontiguousarray(crop.transpose(2, 0, 1)).astype(np.float32)
    planes /= np.float32(255.0)
    planes -= np.asarray(mean, dtype=np.float32).reshape(3, 1, 1)
    planes /= np.asarray(std, dtype=np.float32).reshape(3, 1, 1)
    return planes[None]


def _crop_points(size: int) -> NDArray[np.float32]:
    return _right_angle(np.array([size * 0.5, size * 0.5], dtype=np.float32), size * -0.5)


def _right_angle(center: NDArray[np.float32], up: float) -> NDArray[np.float32]:
    """The three points that fix an affine map: centre, `up` along y from it, and a right angle further on."""
    edge = (center + np.array([0.0, up])).astype(np.float32)
    arm = center - edge
    corner = edge + np.array([-arm[1], arm[0]], dtype=np.float32)
    return np.stack([center, edge, corner]).astype(np.float32)


def _checked_box(box: Sequence[float] | NDArray[Any]) -> Box:
    try:
        numbers = tuple(float(value) for value in box)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"[box] expected four numbers (x, y, width, height); got {box!r}; pass pixels of the image"
        ) from error
    if len(numbers) != 4 or not all(math.isfinite(value) for value in numbers):
        raise InvalidInputError(
            f"[box] expected four finite numbers (x, y, width, height); got {box!r}; pass pixels of the image"
        )
    x, y, w, h = numbers
    if w <= 0 or h <= 0:
        raise InvalidInputError(
            f"[box] expected a width and a height above 0; got (x, y, width, height) = {numbers}; a box is "
            "its top-left corner and its size, not two corners"
        )
    return x, y, w, h
