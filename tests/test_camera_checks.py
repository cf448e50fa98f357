# SPDX-License-Identifier: Apache-2.0
"""What cannot be a camera."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from edgepose.camera import Camera
from edgepose.errors import InvalidInputError

PLAIN = Camera(600, 610, 330, 235, 640, 480)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(fx=None), "expected fx in pixels; got None"),
        (dict(fy="f"), "expected fy in pixels; got 'f'"),
        (dict(fx=0), "fx above 0, in pixels; got 0.0"),
        (dict(fy=-600), "fy above 0, in pixels; got -600.0"),
        (dict(fx=math.nan), "expected fx to be a finite number of pixels; got nan"),
        (dict(fx=math.inf), "finite number of pixels; got inf"),
        (dict(fx=4.2, fy=4.2), r"1 to 170 degrees in an image of 640x480 px; got fx 4.2.*not millimetres"),
        (dict(fx=1e6, fy=1e6), r"which see 0.0367x0.0275; pass pixels"),
        (dict(cx=None), "expected cx in pixels; got None"),
        (dict(cx=math.nan), "expected cx to be a finite number"),
        (dict(cx=1500), "in or near the image of 640x480 px; got cx 1500 px; use the calibration of this"),
        (dict(cy=-500), "got cy -500 px"),
        (dict(width=0), "image width of at least 1 px; got 0"),
        (dict(height=480.0), "image's height in whole pixels; got 480.0"),
        (dict(model="kannala"), "pinhole or fisheye; got 'kannala'"),
        (dict(distortion=(1, 2, 3)), "expected 4, 5, 8, 12, 14 finite .* got 3"),
        (dict(distortion=(0, 0, 0, math.nan)), "finite distortion coefficients .* got 4"),
        (dict(distortion="radial"), "expected distortion coefficients; got 'radial'"),
        (dict(distortion=(0,) * 5, model="fisheye"), "expected 4 finite .* of a fisheye camera; got 5"),
        (dict(fx=100, fy=100, model="fisheye"), "1 to 360 degrees"),
    ],
)
def test_unusable_cameras(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        dataclasses.replace(PLAIN, **fields)


def test_unusable_matrices() -> None:
    skewed = PLAIN.matrix
    skewed[0, 1] = 3
    for matrix in (np.eye(4), skewed, PLAIN.matrix.T, "K", np.full((3, 3), np.nan)):
        with pytest.raises(InvalidInputError, match=r"\[\[fx, 0, cx\], \[0, fy, cy\]"):
            Camera.from_matrix(matrix, 640, 480)
