# SPDX-License-Identifier: Apache-2.0
"""A whole image at one focal length, as models of metric coordinates see it, and the way back to its pixels
and its camera's coordinates.

Reading images and cropping persons do not belong here, nor does the lens: see `edgepose.camera`.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError
from edgepose.images import load_image
from edgepose.smart_resize import smart_resize

__all__ = ["FocalFrame"]

LONGEST_SCALED_SIDE = 8192
"""Largest side of a scaled image, pixels. At a focal length of 1000 it spans a field of view of 153 degrees,
more than any lens that draws straight lines straight; a square of it takes 256 MiB in Pillow."""


@dataclass(frozen=True, slots=True)
class FocalFrame:
    """An image of one camera as the model sees it: scaled to a canonical focal length, cropped, resized.

    Three images in a row: the original; the *frame*, scaled by `scales` and cut to its centre, in whose
    pixels the model answers and a camera has the canonical focal length; and the vision encoder's input, the
    frame resized to `model_size`, which changes no coordinate. All sizes are (width, height), pixels.

    The model takes the middle of the frame for the principal point. Where the camera's is elsewhere, which
    any cut-out that is not centred makes so too, `to_camera` moves its answers into the camera's coordinates.

    Raises:
        InvalidInputError: the image has no pixels; a focal length is not a finite number above 0, or scales
            the image to more than `LONGEST_SCALED_SIDE` or to less than `factor` on a side; the principal
            point is not two finite numbers; the crop is smaller than `factor`; or the frame has no model size
            (see `smart_resize`).

    Source:
        TAIHRI's inference wrapper; the defaults are those of its released evaluation without the crop.
    """

    image_size: tuple[int, int]
    """Of the original."""
    focal: float | tuple[float, float]
    """Focal length of the original, pixels: one number, or (fx, fy) where pixels are not square. Two equal
    numbers are kept as one."""
    principal_point: tuple[float, float] | None = None
    """(cx, cy) of the original, pixels, as its calibration gives it; None for the middle of the frame."""
    canonical_focal: float = field(default=1000.0, kw_only=True)
    """Focal length of the frame, pixels."""
    crop: int | None = field(default=None, kw_only=True)
    """Sides of the scaled image longer than this are cut to it around the centre; 1400 where published."""
    factor: int = field(default=32, kw_only=True)
    """Side of the square of the model's input that becomes one image token, pixels."""
    min_pixels: int = field(default=16 * 28 * 28, kw_only=True)
    """Fewest pixels of the model's input."""
    max_pixels: int = field(default=2560 * 28 * 28, kw_only=True)
    """Most pixels of the model's input."""

    def __post_init__(self) -> None:
        # Python's own numbers, so that a float32 focal length does not make a float32 scale.
        width, height = _checked_size(self.image_size)
        object.__setattr__(self, "image_size", (width, height))
        object.__setattr__(self, "focal", _checked_focals(self.focal))
        object.__setattr__(self, "principal_point", _checked_point(self.principal_point))
        canonical = _checked_focal("canonical focal length", self.canonical_focal)
        object.__setattr__(self, "canonical_focal", canonical)
        if self.crop is not None and self.crop < self.factor:
            raise InvalidInputError(
                f"[frame] expected a crop of at least {self.factor} px, one image token; got {self.crop!r}; "
                "pass None for no crop"
            )
        across, down = self.scales
        longest, shortest = max(width * across, height * down), min(width * across, height * down)
        # In this order: what is too long need not fit an integer.
        if not longest < LONGEST_SCALED_SIDE + 1 or int(shortest) < self.factor:
            raise InvalidInputError(
                f"[frame] expected a focal length that scales the image of {width}x{height} px to sides from "
                f"{self.factor} to {LONGEST_SCALED_SIDE} px; got {_listed(self.focal)} px, which scales it "
                f"by {_listed(self.scales if across != down else across)}; pass it in pixels of this image, "
                "not in millimetres"
            )
        _ = self.model_size  # refuses sizes that the vision encoder does

    @property
    def scales(self) -> tuple[float, float]:
        """Pixels of the frame per pixel of the original, across and down."""
        fx, fy = self.focal if isinstance(self.focal, tuple) else (self.focal, self.focal)
        return self.canonical_focal / fx, self.canonical_focal / fy

    @property
    def scale(self) -> float:
        """Pixels of the frame per pixel of the original; the geometric mean of `scales` where they differ."""
        across, down = self.scales
        return across if across == down else math.sqrt(across * down)

    @property
    def scaled_size(self) -> tuple[int, int]:
        """Of the scaled image before the crop; fractions of a pixel are dropped."""
        (width, height), (across, down) = self.image_size, self.scales
        return int(width * across), int(height * down)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Of the frame: the extents over which the model's coordinates run."""
        width, height = self.scaled_size
        if self.crop is None:
            return width, height
        return min(self.crop, width), min(self.crop, height)

    @property
    def crop_offset(self) -> tuple[int, int]:
        """(left, top) of the frame in the scaled image."""
        (width, height), (crop_width, crop_height) = self.scaled_size, self.crop_size
        return (width - crop_width) // 2, (height - crop_height) // 2

    @property
    def model_size(self) -> tuple[int, int]:
        """Of the vision encoder's input, multiples of `factor`."""
        width, height = self.crop_size
        model_height, model_width = smart_resize(height, width, self.factor, self.min_pixels, self.max_pixels)
        return model_width, model_height

    @property
    def image_tokens(self) -> int:
        """Positions that the image takes in the prompt."""
        width, height = self.model_size
        return (width // self.factor) * (height // self.factor)

    @property
    def principal_offset(self) -> tuple[float, float]:
        """The camera's principal point less the middle of the frame, pixels of the frame; 0 for None."""
        if self.principal_point is None:
            return 0.0, 0.0
        u, v = self.to_frame(self.principal_point).tolist()
        width, height = self.crop_size
        return u - width / 2, v - height / 2

    def to_camera(self, xyz: ArrayLike) -> NDArray[np.float64]:
        """Coordinates of the camera of those that the model answers.

        The model sees a point in the frame at the angle from the frame's middle, the camera at the angle from
        its principal point; both agree on the depth along the axis. So X moves by `-Z * offset_u / canonical`
        and Y by `-Z * offset_v / canonical`, a shear: exact for a sensor that is shifted against its lens and
        for a cut-out, whose rays are those of the whole image. It is not a rotation: a camera that was turned
        would see another image. The spread of X and Y grows with that of Z by `offset / canonical`, at most
        a tenth of it for 100 px at 1000.

        Args:
            xyz: `(..., 3)` float, metres, x right, y down, z forward, the frame's middle straight ahead.

        Returns:
            `(..., 3)` float64, metres, the camera's principal point straight ahead. NaN stays NaN.
        """
        return self._sheared(xyz, -1.0)

    def to_model(self, xyz: ArrayLike) -> NDArray[np.float64]:
        """Coordinates as the model answers them of those of the camera: the inverse of `to_camera`."""
        return self._sheared(xyz, 1.0)

    def _sheared(self, xyz: ArrayLike, direction: float) -> NDArray[np.float64]:
        points = np.array(xyz, dtype=np.float64)
        if points.shape[-1:] != (3,):
            raise InvalidInputError(
                f"[frame] expected points of shape (..., 3); got {points.shape}; pass x, y and z in metres"
            )
        slope = np.array(self.principal_offset) / self.canonical_focal
        points[..., :2] += direction * slope * points[..., 2:]
        return points

    def to_image(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Pixels of the original of pixels of the frame: `((u + left) / scale, (v + top) / scale)`.

        The fraction of a pixel that `scaled_size` drops is not made up for, as published: at the far edge
        the result is short by less than a pixel of the frame. Nor is half a pixel added or taken for images
        whose integers are pixel centres: models learn from projections that were scaled like this.

        Args:
            uv: `(..., 2)` float, pixels of the frame, u right, v down, origin at the top-left pixel's corner.

        Returns:
            `(..., 2)` float64, pixels of the original, same convention. NaN stays NaN.
        """
        offset: NDArray[np.float64] = np.array(self.crop_offset, dtype=np.float64)
        placed: NDArray[np.float64] = (np.asarray(uv, dtype=np.float64) + offset) / np.array(self.scales)
        return placed

    def to_frame(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Pixels of the frame of pixels of the original: the inverse of `to_image`.

        Args:
            xy: `(..., 2)` float, pixels of the original, x right, y down, origin at the top-left
                pixel's corner.

        Returns:
            `(..., 2)` float64, pixels of the frame, outside of `crop_size` for points that the crop cuts off.
        """
        offset: NDArray[np.float64] = np.array(self.crop_offset, dtype=np.float64)
        placed: NDArray[np.float64] = np.asarray(xy, dtype=np.float64) * np.array(self.scales) - offset
        return placed

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The vision encoder's input, before its values are normalised.

        Args:
            image: `(H, W, 3)` uint8 RGB, of `image_size`.

        Returns:
            `(h, w, 3)` uint8 RGB, C order, of `model_size`: scaled with Pillow's LANCZOS filter, cropped, and
            resized with its BICUBIC one.

        Raises:
            InvalidInputError: the array has another type, shape or size.
        """
        import PIL.Image

        pixels = load_image(image)
        height, width = pixels.shape[:2]
        if (width, height) != self.image_size:
            expected_width, expected_height = self.image_size
            raise InvalidInputError(
                f"[frame] expected an image of {expected_width}x{expected_height} px; got {width}x{height} "
                "px; make a frame for this image's size and focal length"
            )
        scaled = PIL.Image.fromarray(pixels).resize(self.scaled_size, PIL.Image.Resampling.LANCZOS)
        (left, top), (crop_width, crop_height) = self.crop_offset, self.crop_size
        cropped = scaled.crop((left, top, left + crop_width, top + crop_height))
        resized = cropped.resize(self.model_size, PIL.Image.Resampling.BICUBIC)
        return np.array(resized, dtype=np.uint8)


def _checked_size(size: Any) -> tuple[int, int]:
    try:
        width, height = (operator.index(side) for side in size)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"[frame] expected an image size (width, height), two whole numbers; got {size!r}; "
            "for an array pass (image.shape[1], image.shape[0])"
        ) from error
    if width < 1 or height < 1:
        raise InvalidInputError(
            f"[frame] expected an image of at least 1x1 px; got {width}x{height} px; check where it came from"
        )
    return width, height


def _checked_focals(focal: Any) -> float | tuple[float, float]:
    if not isinstance(focal, (tuple, list, np.ndarray)):
        return _checked_focal("focal length", focal)
    if len(focal) != 2:
        raise InvalidInputError(
            f"[frame] expected one focal length or (fx, fy); got {focal!r}; pass pixels of the original"
        )
    fx, fy = (_checked_focal("focal length", number) for number in focal)
    return fx if fx == fy else (fx, fy)


def _checked_point(point: Any) -> tuple[float, float] | None:
    if point is None:
        return None
    try:
        x, y = (float(number) for number in point)
        finite = math.isfinite(x) and math.isfinite(y)
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite:
        raise InvalidInputError(
            f"[frame] expected a principal point (cx, cy), two finite numbers; got {point!r}; pass pixels of "
            "the original, or None for the middle"
        )
    return x, y


def _listed(numbers: float | tuple[float, float]) -> str:
    return "x".join(f"{number:g}" for number in np.atleast_1d(numbers))


def _checked_focal(what: str, focal: Any) -> float:
    try:
        number = float(focal)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"[frame] expected a {what} in pixels; got {focal!r}; pass one number"
        ) from error
    if not (math.isfinite(number) and number > 0):
        raise InvalidInputError(
            f"[frame] expected a {what} above 0, in pixels; got {number!r}; take it from the camera's "
            "calibration"
        )
    return number
