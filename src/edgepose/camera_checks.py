# SPDX-License-Identifier: Apache-2.0
"""Which numbers make a camera: each function refuses those that cannot be a calibration of the image.

What a camera does with its numbers does not belong here: see `edgepose.camera`. All functions raise
InvalidInputError, which says what was expected and where to find it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError
from edgepose.lens import LensModel

__all__ = [
    "check_field_of_view",
    "check_model",
    "check_principal_point",
    "checked_distortion",
    "checked_matrix",
    "checked_number",
    "checked_side",
]

_FIELD_OF_VIEW = {"pinhole": (1.0, 170.0), "fisheye": (1.0, 360.0)}  # degrees
_COEFFICIENTS = {"pinhole": (4, 5, 8, 12, 14), "fisheye": (4,)}


def checked_side(name: str, value: Any) -> int:
    """Width or height of an image, whole pixels, at least 1."""
    try:
        side = operator.index(value)
    except TypeError as error:
        raise InvalidInputError(
            f"[camera] expected the image's {name} in whole pixels; got {value!r}; pass an int"
        ) from error
    if side < 1:
        raise InvalidInputError(
            f"[camera] expected an image {name} of at least 1 px; got {side}; check where it came from"
        )
    return side


def checked_number(name: str, value: Any) -> float:
    """A focal length or a coordinate of the principal point, pixels, finite."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"[camera] expected {name} in pixels; got {value!r}; take it from the camera's calibration"
        ) from error
    if not math.isfinite(number):
        raise InvalidInputError(
            f"[camera] expected {name} to be a finite number of pixels; got {number!r}; take it from the "
            "camera's calibration"
        )
    return number


def check_model(model: Any) -> None:
    """Refuse what is no `LensModel`."""
    if model not in _FIELD_OF_VIEW:
        raise InvalidInputError(
            f"[camera] expected model to be pinhole or fisheye; got {model!r}; take it from the calibration"
        )


def check_field_of_view(
    model: LensModel, focal: tuple[float, float], size: tuple[int, int], *, cropped: bool
) -> None:
    """Refuse focal lengths that are absurd for the image.

    Args:
        model: of the lens.
        focal: fx and fy, pixels.
        size: (width, height) of the image, pixels.
        cropped: whether the image is a part of the camera's own, which may see as little as it likes.
    """
    (fx, fy), (width, height) = focal, size
    for name, length in (("fx", fx), ("fy", fy)):
        if length <= 0:
            raise InvalidInputError(
                f"[camera] expected {name} above 0, in pixels; got {length!r}; take it from the camera's "
                "calibration"
            )
    lowest, highest = _FIELD_OF_VIEW[model]
    views = [
        math.degrees(2 * math.atan(side / length / 2) if model == "pinhole" else side / length)
        for length, side in zip(focal, size, strict=True)
    ]
    if max(views) > highest or (max(views) < lowest and not cropped):
        raise InvalidInputError(
            f"[camera] expected focal lengths that see {lowest:g} to {highest:g} degrees in an image of "
            f"{width}x{height} px; got fx {fx:g}, fy {fy:g}, which see "
            f"{views[0]:.3g}x{views[1]:.3g}; pass pixels of this image, not millimetres: "
            "mm * image width / sensor width"
        )


def check_principal_point(center: tuple[float, float], size: tuple[int, int]) -> None:
    """Refuse a principal point (cx, cy), pixels, that is far from an image of (width, height) pixels."""
    width, height = size
    for name, place, side in zip(("cx", "cy"), center, size, strict=True):
        if not -side <= place <= 2 * side:
            raise InvalidInputError(
                f"[camera] expected a principal point in or near the image of {width}x{height} "
                f"px; got {name} {place:g} px; use the calibration of this resolution, or make the "
                "camera of the whole image and take camera.resized(...) or camera.crop(...)"
            )


def checked_distortion(model: LensModel, given: Sequence[float] | None) -> tuple[float, ...]:
    """The coefficients of a lens in OpenCV's order, as many as its model may have; empty for none."""
    given = () if given is None else given
    try:
        numbers = tuple(float(value) for value in np.asarray(given, dtype=np.float64).reshape(-1))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"[camera] expected distortion coefficients; got {given!r}; pass numbers, or None for none"
        ) from error
    counts = _COEFFICIENTS[model]
    if numbers and (len(numbers) not in counts or not all(map(math.isfinite, numbers))):
        expected = ", ".join(map(str, counts))
        raise InvalidInputError(
            f"[camera] expected {expected} finite distortion coefficients of a {model} camera; got "
            f"{len(numbers)}: {numbers}; pass them in OpenCV's order, or None for none"
        )
    return numbers


def checked_matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    """`(3, 3)` float64, pixels: `[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`, without skew."""
    try:
        k = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        k = np.zeros(0)
    if k.shape != (3, 3) or np.abs(k[2] - (0, 0, 1)).max() > 1e-6 or not _square(k):
        raise InvalidInputError(
            "[camera] expected a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; got "
            f"{np.asarray(matrix).tolist()}; pass the 3x3 camera matrix of the calibration, without skew"
        )
    return k


def _square(k: NDArray[np.float64]) -> bool:
    """Whether a camera matrix has no skew."""
    return bool(np.abs(k[[0, 1], [1, 0]]).max() <= 1e-6 * max(1.0, float(np.abs(k).max())))
