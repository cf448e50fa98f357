# SPDX-License-Identifier: Apache-2.0
"""A whole image at one focal length, as models of metric coordinates see it, and the way back to its pixels.

Reading images and cropping persons do not belong here, nor do camera models beyond one focal length.
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

__all__ = ["FocalFrame", "smart_resize"]

LONGEST_SCALED_SIDE = 8192
"""Largest side of a scaled image, pixels. At a focal length of 1000 it spans a field of view of 153 degrees,
more than any lens that draws straight lines straight; a square of it takes 256 MiB in Pillow."""

_WIDEST_ASPECT = 200


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The size to which a vision encoder of the Qwen-VL kind resizes an image of any size.

    Each side is rounded to a multiple of `factor`, halves to the even multiple. Where that has too many
    pixels the image is scaled to `max_pixels` and the sides are rounded down, but not to 0; where it has
    too few, to `min_pixels` and up. So a long, narrow image may keep more than `max_pixels`.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        factor: side of the square that becomes one image token, pixels.
        min_pixels: fewest pixels of the result.
        max_pixels: most pixels of the result.

    Returns:
        (height, width), pixels.

    Raises:
        InvalidInputError: a size is not above 0, one side is more than 200 times the other, or the limits
            allow nothing.

    Source:
        transformers, the Qwen2-VL image processor: `smart_resize`.
    """
    if height < 1 or width < 1:
        raise InvalidInputError(
            f"[frame] expected an image of at least 1x1 px; got {width}x{height} px; check where it came from"
        )
    if factor < 1 or not 1 <= min_pixels <= max_pixels:
        raise InvalidInputError(
            "[frame] expected a factor of at least 1 and 1 <= min_pixels <= max_pixels; got factor "
            f"{factor}, min_pixels {min_pixels}, max_pixels {max_pixels}; take them from the model's image "
            "processor"
        )
    if max(height, width) / min(height, width) > _WIDEST_ASPECT:
        raise InvalidInputError(
            f"[frame] expected an image whose sides differ at most {_WIDEST_ASPECT} times; got "
            f"{width}x{height} px; cut out the part that shows people"
        )
    rounded_height = round(height / factor) * factor
    rounded_width = round(width / factor) * factor
    if rounded_height * rounded_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rounded_height = max(factor, math.floor(height / shrink / factor) * factor)
        rounded_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif rounded_height * rounded_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rounded_height = math.ceil(height * grow / factor) * factor
        rounded_width = math.ceil(width * grow / factor) * factor
    return rounded_height, rounded_width


@dataclass(frozen=True, slots=True)
class FocalFrame:
    """An image of one camera as the model sees it: scaled to a canonical focal length, cropped, resized.

    Three images in a row: the original; the *frame*, scaled by `scale` and cut to its centre, in whose pixels
    the model answers and a camera has the canonical focal length; and the vision encoder's input, the frame
    resized to `model_size`, which changes no coordinate. All sizes are (width, height), pixels.

    Raises:
        InvalidInputError: the image has no pixels; the focal length is not a finite number above 0, or scales
            the image to more than `LONGEST_SCALED_SIDE` or to less than `factor` on a side; the crop is
            smaller than `factor`; or the frame has no model size (see `smart_resize`).

    Source:
        TAIHRI's inference wrapper; the defaults are those of its released evaluation without the crop.
    """

    image_size: tuple[int, int]
    """Of the original."""
    focal: float
    """Focal length of the original, pixels."""
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
        object.__setattr__(self, "focal", _checked_focal("focal length", self.focal))
        canonical = _checked_focal("canonical focal length", self.canonical_focal)
        object.__setattr__(self, "canonical_focal", canonical)
        if self.crop is not None and self.crop < self.factor:
            raise InvalidInputError(
                f"[frame] expected a crop of at least {self.factor} px, one image token; got {self.crop!r}; "
                "pass None for no crop"
            )
        longest, shortest = max(width, height) * self.scale, min(width, height) * self.scale
        # In this order: what is too long need not fit an integer.
        if not longest < LONGEST_SCALED_SIDE + 1 or int(shortest) < self.factor:
            raise InvalidInputError(
                f"[frame] expected a focal length that scales the image of {width}x{height} px to sides from "
                f"{self.factor} to {LONGEST_SCALED_SIDE} px; got {self.focal:g} px, which scales it by "
                f"{self.scale:g}; pass it in pixels of this image, not in millimetres"
            )
        _ = self.model_size  # refuses sizes that the vision encoder does

    @property
    def scale(self) -> float:
        """Pixels of the frame per pixel of the original."""
        return self.canonical_focal / self.focal

    @property
    def scaled_size(self) -> tuple[int, int]:
        """Of the scaled image before the crop; fractions of a pixel are dropped."""
        width, height = self.image_size
        return int(width * self.scale), int(height * self.scale)

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

    def to_image(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Pixels of the original of pixels of the frame: `((u + left) / scale, (v + top) / scale)`.

        The fraction of a pixel that `scaled_size` drops is not made up for, as published: at the far edge
        the result is short by less than a pixel of the frame.

        Args:
            uv: `(..., 2)` float, pixels of the frame, u right, v down, origin at the top-left pixel's corner.

        Returns:
            `(..., 2)` float64, pixels of the original, same convention. NaN stays NaN.
        """
        offset: NDArray[np.float64] = np.array(self.crop_offset, dtype=np.float64)
        placed: NDArray[np.float64] = (np.asarray(uv, dtype=np.float64) + offset) / self.scale
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
        placed: NDArray[np.float64] = np.asarray(xy, dtype=np.float64) * self.scale - offset
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
