# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: from metres in front of it to pixels, and its lens's distortion there and back.

What a model sees of an image does not belong here: see `edgepose.frame`. Nor does calibrating.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.calibration_file import read_calibration
from edgepose.errors import InvalidInputError
from edgepose.images import load_image
from edgepose.lens import Lens, LensModel

__all__ = ["Camera"]

_FIELD_OF_VIEW = {"pinhole": (1.0, 170.0), "fisheye": (1.0, 360.0)}  # degrees
_COEFFICIENTS = {"pinhole": (4, 5, 8, 12, 14), "fisheye": (4,)}


@dataclass(frozen=True, slots=True)
class Camera:
    """What a camera's calibration says: focal lengths, principal point, image size, lens.

    Frame: x right, y down, z forward, metres, origin at the centre of projection. Pixels follow OpenCV and
    ROS: integers are pixel centres.

    Raises:
        InvalidInputError: a focal length or the principal point is missing, not finite or absurd for the
            image (most often millimetres, or a calibration of another resolution), the size is not of whole
            pixels, or the distortion does not belong to the model.
    """

    fx: float
    """Horizontal focal length, pixels."""
    fy: float
    """Vertical focal length, pixels."""
    cx: float
    """Principal point, pixels from the left."""
    cy: float
    """Principal point, pixels from the top."""
    width: int
    """Of the image, pixels."""
    height: int
    """Of the image, pixels."""
    distortion: Sequence[float] | None = None
    """Lens distortion in OpenCV's order, (k1, k2, p1, p2[, k3[, k4, k5, k6[, s1..s4[, tx, ty]]]]) of a
    pinhole, (k1, k2, k3, k4) of a fisheye; None or empty for none. Kept as a tuple."""
    model: LensModel = "pinhole"
    """`fisheye` is OpenCV's, ROS's `equidistant`."""
    cropped: bool = field(default=False, kw_only=True)
    """Whether the image is a part of the camera's own: then the principal point may lie far outside."""

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            object.__setattr__(self, name, _checked_side(name, getattr(self, name)))
        for name in ("fx", "fy", "cx", "cy"):
            object.__setattr__(self, name, _checked_number(name, getattr(self, name)))
        if self.model not in _FIELD_OF_VIEW:
            raise InvalidInputError(
                f"[camera] expected model to be pinhole or fisheye; got {self.model!r}; take it from the "
                "calibration"
            )
        self._check_field_of_view()
        for name, center, side in (("cx", self.cx, self.width), ("cy", self.cy, self.height)):
            if not self.cropped and not -side <= center <= 2 * side:
                raise InvalidInputError(
                    f"[camera] expected a principal point in or near the image of {self.width}x{self.height} "
                    f"px; got {name} {center:g} px; use the calibration of this resolution, or make the "
                    "camera of the whole image and take camera.resized(...) or camera.crop(...)"
                )
        object.__setattr__(self, "distortion", self._checked_distortion())

    def _check_field_of_view(self) -> None:
        lowest, highest = _FIELD_OF_VIEW[self.model]
        for name, focal in (("fx", self.fx), ("fy", self.fy)):
            if focal <= 0:
                raise InvalidInputError(
                    f"[camera] expected {name} above 0, in pixels; got {focal!r}; take it from the camera's "
                    "calibration"
                )
        views = [
            math.degrees(2 * math.atan(side / focal / 2) if self.model == "pinhole" else side / focal)
            for focal, side in ((self.fx, self.width), (self.fy, self.height))
        ]
        if max(views) > highest or (max(views) < lowest and not self.cropped):
            raise InvalidInputError(
                f"[camera] expected focal lengths that see {lowest:g} to {highest:g} degrees in an image of "
                f"{self.width}x{self.height} px; got fx {self.fx:g}, fy {self.fy:g}, which see "
                f"{views[0]:.3g}x{views[1]:.3g}; pass pixels of this image, not millimetres: "
                "mm * image width / sensor width"
            )

    def _checked_distortion(self) -> tuple[float, ...]:
        given = () if self.distortion is None else self.distortion
        try:
            numbers = tuple(float(value) for value in np.asarray(given, dtype=np.float64).reshape(-1))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"[camera] expected distortion coefficients; got {given!r}; pass numbers, or None for none"
            ) from error
        counts = _COEFFICIENTS[self.model]
        if numbers and (len(numbers) not in counts or not all(map(math.isfinite, numbers))):
            expected = ", ".join(map(str, counts))
            raise InvalidInputError(
                f"[camera] expected {expected} finite distortion coefficients of a {self.model} camera; got "
                f"{len(numbers)}: {numbers}; pass them in OpenCV's order, or None for none"
            )
        return numbers

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        width: int,
        height: int,
        *,
        distortion: Sequence[float] | None = None,
        model: LensModel = "pinhole",
    ) -> Camera:
        """A camera of its matrix.

        Args:
            matrix: `(3, 3)`, pixels: `[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`.
            width: of the image, pixels.
            height: of the image, pixels.
            distortion: as the field.
            model: as the field.

        Raises:
            InvalidInputError: the matrix has another form, or the camera cannot be (see the class).
        """
        try:
            k = np.array(matrix, dtype=np.float64)
        except (TypeError, ValueError):
            k = np.zeros(0)
        if k.shape != (3, 3) or np.abs(k[2] - (0, 0, 1)).max() > 1e-6 or not _square(k):
            raise InvalidInputError(
                "[camera] expected a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; got "
                f"{np.asarray(matrix).tolist()}; pass the 3x3 camera matrix of the calibration, without skew"
            )
        return cls(k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height, distortion, model)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Camera:
        """A camera of a calibration file: ROS camera_info YAML or OpenCV FileStorage YAML.

        Raises:
            InvalidInputError: the file is not one (see `read_calibration`), or its camera cannot be.
        """
        found = read_calibration(path)
        try:
            return cls.from_matrix(
                found.matrix, found.width, found.height, distortion=found.distortion, model=found.model
            )
        except InvalidInputError as error:
            raise InvalidInputError(f"{error} (from {os.fspath(path)!r})") from error

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        return self.width, self.height

    @property
    def matrix(self) -> NDArray[np.float64]:
        """`(3, 3)` float64, pixels: `[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    @property
    def is_distorted(self) -> bool:
        """Whether straight lines are not straight in its images: a fisheye's never are."""
        return not self.lens.is_straight

    @property
    def lens(self) -> Lens:
        """Its distortion."""
        return Lens(self.model, tuple(self.distortion or ()))

    def check_image(self, size: tuple[int, int]) -> None:
        """Refuse an image of another size than the calibration's.

        Args:
            size: (width, height) of the image, pixels.

        Raises:
            InvalidInputError: the sizes differ.
        """
        if tuple(size) != self.size:
            width, height = size
            raise InvalidInputError(
                f"[camera] expected an image of the camera's {self.width}x{self.height} px; got "
                f"{width}x{height} px; for a resized image pass camera.resized({width}, {height}), for a "
                "cut-out camera.crop(x, y, width, height)"
            )

    def crop(self, x: int, y: int, width: int, height: int) -> Camera:
        """The camera of a cut-out of its images.

        Args:
            x: left edge of the cut-out, pixels; may be negative where the image is padded.
            y: top edge.
            width: of the cut-out.
            height: of the cut-out.
        """
        return replace(self, cx=self.cx - x, cy=self.cy - y, width=width, height=height, cropped=True)

    def resized(self, width: int, height: int) -> Camera:
        """The camera of its images after resizing them, whole images onto whole images as OpenCV does."""
        across, down = (
            _checked_side("width", width) / self.width,
            _checked_side("height", height) / self.height,
        )
        return replace(
            self,
            fx=self.fx * across,
            fy=self.fy * down,
            cx=(self.cx + 0.5) * across - 0.5,
            cy=(self.cy + 0.5) * down - 0.5,
            width=width,
            height=height,
        )

    def project(self, xyz: ArrayLike) -> NDArray[np.float64]:
        """Where points are seen.

        Args:
            xyz: `(..., 3)` float, metres, camera frame.

        Returns:
            `(..., 2)` float64, pixels of the (distorted) image, also outside of it. NaN for points that are
            not in front of the camera, that the lens's polynomial folds back into the image, and for NaN.
        """
        points = np.asarray(xyz, dtype=np.float64)
        if points.shape[-1:] != (3,):
            raise InvalidInputError(
                f"[camera] expected points of shape (..., 3); got {points.shape}; pass x, y and z"
            )
        flat = points.reshape(-1, 3)
        rays = np.full((len(flat), 2), np.nan)
        front = (flat[:, 2] > 0) & np.isfinite(flat).all(axis=1)
        rays[front] = flat[front, :2] / flat[front, 2:]
        return self._place(self.lens.bend(rays)).reshape(*points.shape[:-1], 2)

    def distort_points(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Pixels of the image of pixels of the undistorted image: the inverse of `undistort_points`.

        Args:
            xy: `(..., 2)` float, pixels of an image without distortion and with the same `matrix`.

        Returns:
            `(..., 2)` float64; NaN as in `project`.
        """
        return self._each(xy, self.lens.bend)

    def undistort_points(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Where points of the image would be without distortion, at the same `matrix`.

        Args:
            xy: `(..., 2)` float, pixels of the image.

        Returns:
            `(..., 2)` float64; NaN where no ray in front of the camera is seen, and for NaN.
        """
        return self._each(xy, self.lens.straighten)

    def undistort(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image as a lens without distortion would take it, at the same `matrix` and size.

        Args:
            image: `(height, width, 3)` uint8 RGB.

        Returns:
            `(height, width, 3)` uint8 RGB, black where the lens did not look; the image itself where nothing
            is distorted.

        Raises:
            InvalidInputError: the array has another type, shape or size.
        """
        import cv2

        pixels = load_image(image)
        self.check_image((pixels.shape[1], pixels.shape[0]))
        if not self.is_distorted:
            return pixels
        straight = cv2.remap(pixels, *_undistortion(self), cv2.INTER_LINEAR)
        return np.asarray(straight, dtype=np.uint8)

    def _each(
        self, xy: ArrayLike, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        pixels = np.array(xy, dtype=np.float64)
        if pixels.shape[-1:] != (2,):
            raise InvalidInputError(
                f"[camera] expected pixels of shape (..., 2); got {pixels.shape}; pass x and y"
            )
        if not self.is_distorted:
            return pixels
        rays = (pixels.reshape(-1, 2) - (self.cx, self.cy)) / (self.fx, self.fy)
        return self._place(change(rays)).reshape(pixels.shape)

    def _place(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        placed: NDArray[np.float64] = rays * (self.fx, self.fy) + (self.cx, self.cy)
        return placed


@functools.lru_cache(maxsize=2)
def _undistortion(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kept, since a video has one camera."""
    return camera.lens.undistortion(camera.matrix, camera.size)


def _square(k: NDArray[np.float64]) -> bool:
    """Whether a camera matrix has no skew."""
    return bool(np.abs(k[[0, 1], [1, 0]]).max() <= 1e-6 * max(1.0, float(np.abs(k).max())))


def _checked_number(name: str, value: Any) -> float:
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


def _checked_side(name: str, value: Any) -> int:
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
