# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: from metres in front of it to pixels, and its lens's distortion there and back.

What a model sees of an image does not belong here: see `edgepose.frame`. Nor does calibrating, nor which
numbers make a camera: see `edgepose.camera_checks`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.calibration_file import read_calibration
from edgepose.camera_checks import (
    check_field_of_view,
    check_model,
    check_principal_point,
    checked_distortion,
    checked_matrix,
    checked_number,
    checked_side,
)
from edgepose.errors import InvalidInputError
from edgepose.images import load_image
from edgepose.lens import Lens, LensModel

__all__ = ["Camera"]


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
            object.__setattr__(self, name, checked_side(name, getattr(self, name)))
        for name in ("fx", "fy", "cx", "cy"):
            object.__setattr__(self, name, checked_number(name, getattr(self, name)))
        check_model(self.model)
        check_field_of_view(self.model, (self.fx, self.fy), self.size, cropped=self.cropped)
        if not self.cropped:
            check_principal_point((self.cx, self.cy), self.size)
        object.__setattr__(self, "distortion", checked_distortion(self.model, self.distortion))

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
        k = checked_matrix(matrix)
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
            checked_side("width", width) / self.width,
            checked_side("height", height) / self.height,
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
