# SPDX-License-Identifier: Apache-2.0
"""How a lens bends rays: OpenCV's pinhole and fisheye polynomials, there and back, in tangents of angles.

Pixels and focal lengths do not belong here: see `edgepose.camera`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lens", "LensModel"]

LensModel = Literal["pinhole", "fisheye"]
"""`fisheye` is OpenCV's, ROS's `equidistant`."""

_REFINEMENTS = 20
_STEP = 1e-6
_CLOSE = 1e-5
"""A ray found for a bent one is bent this close to it, or there is none: 0.01 px at 1000 px focal length."""


@dataclass(frozen=True, slots=True)
class Lens:
    """A distortion without a focal length. Rays are `(N, 2)`: X/Z and Y/Z of a direction, not bounded."""

    model: LensModel
    coefficients: tuple[float, ...]
    """In OpenCV's order; empty for none."""

    @property
    def is_straight(self) -> bool:
        """Whether it bends nothing: a fisheye always does."""
        return self.model == "pinhole" and not any(self.coefficients)

    def bend(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where rays arrive: `(N, 2)`, times focal length, plus principal point, they are pixels.

        NaN for rays beyond the angle at which the radial polynomial, fitted to what is in the image, turns
        back towards the centre; and for NaN.
        """
        if self.is_straight:
            return np.array(rays)
        import cv2

        arrived = np.full(rays.shape, np.nan)
        usable = np.hypot(rays[:, 0], rays[:, 1]) < _fold(self)  # False for NaN
        if usable.any():
            points = np.column_stack([rays[usable], np.ones(usable.sum())])[:, None]
            still = np.zeros(3)
            make = cv2.fisheye.projectPoints if self.model == "fisheye" else cv2.projectPoints
            found = make(points, still, still, np.eye(3), self._array())
            arrived[usable] = np.asarray(found[0], dtype=np.float64).reshape(-1, 2)
        return arrived

    def straighten(self, arrived: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rays that arrive at `(N, 2)`: OpenCV's solution, refined until it bends back to them.

        NaN where no ray arrives, and for NaN.
        """
        if self.is_straight:
            return np.array(arrived)
        import cv2

        solve = cv2.fisheye.undistortPoints if self.model == "fisheye" else cv2.undistortPoints
        known = np.where(np.isfinite(arrived), arrived, 0.0)
        rays: NDArray[np.float64] = np.zeros(arrived.shape)
        if len(rays):
            found = solve(known[:, None], np.eye(3), self._array())
            rays = np.asarray(found, dtype=np.float64).reshape(-1, 2)
        for _ in range(_REFINEMENTS):
            missed = self.bend(rays) - arrived
            if not (np.abs(missed) > _CLOSE * 1e-4).any():
                break
            # Newton's step with a numeric Jacobian, 2x2 for each ray.
            (a, c), (b, d) = (
                ((self.bend(rays + along) - arrived - missed) / _STEP).T for along in np.eye(2) * _STEP
            )
            determinant = a * d - b * c
            safe = np.where(np.abs(determinant) > 1e-9, determinant, np.nan)
            u, v = missed.T
            rays = rays - np.column_stack([(d * u - b * v) / safe, (a * v - c * u) / safe])
        rays[~(np.abs(self.bend(rays) - arrived).max(axis=1, initial=0) < _CLOSE)] = np.nan
        return rays

    def undistortion(
        self, matrix: NDArray[np.float64], size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where each pixel of the undistorted image comes from: u and v, both `(height, width)`."""
        import cv2

        make = cv2.fisheye.initUndistortRectifyMap if self.model == "fisheye" else cv2.initUndistortRectifyMap
        u, v = make(matrix, self._array(), np.eye(3), matrix, size, cv2.CV_32FC1)
        return np.asarray(u, dtype=np.float32), np.asarray(v, dtype=np.float32)

    def _array(self) -> NDArray[np.float64]:
        return np.array(self.coefficients or (0.0,) * 4, dtype=np.float64)


@functools.lru_cache(maxsize=16)
def _fold(lens: Lens) -> float:
    """The tangent of the angle from the axis at which the radial polynomial stops to grow, if it does."""
    k = [*lens.coefficients, *[0.0] * 14]
    if lens.model == "fisheye":  # theta (1 + k1 theta^2 + ...), its derivative as a polynomial in theta^2
        slope = np.polynomial.Polynomial([1, 3 * k[0], 5 * k[1], 7 * k[2], 9 * k[3]])
    else:  # r N(s) / D(s), s = r^2; its derivative has the sign of N D + 2 s (N' D - N D'); poles end it too
        above = np.polynomial.Polynomial([1, k[0], k[1], k[4]])
        below = np.polynomial.Polynomial([1, k[5], k[6], k[7]])
        turn = np.polynomial.Polynomial([0, 2]) * (above.deriv() * below - above * below.deriv())
        slope = (above * below + turn) * below
    roots = [complex(root) for root in slope.trim(1e-12).roots()]
    reached = min((math.sqrt(r.real) for r in roots if abs(r.imag) < 1e-9 and r.real > 0), default=math.inf)
    if lens.model == "fisheye":
        return math.tan(reached) if reached < math.pi / 2 else math.inf
    return reached
