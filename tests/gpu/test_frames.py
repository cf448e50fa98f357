# SPDX-License-Identifier: Apache-2.0
"""Frames in a GPU's memory, preprocessed there: the tests of tests/backends/test_gpu_frames.py, and others.

Those compare with the same kernels on the host, whatever its OpenCV does.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.crop import SquareCrop
from edgepose.frame import FocalFrame
from edgepose.gpu_frames import CutPatches, WarpedCrop

from ..backends.places import HostPlace, Place
from ..backends.test_gpu_frames import (
    BENT,
    HALVES,
    MEAN,
    STD,
    frame_of,
    made,
    noise,
    test_a_bent_frame_is_answered_like_one_on_the_host,
    test_a_bent_frame_is_straightened_as_on_the_cpu,
    test_a_crop_is_warped_as_on_the_cpu,
    test_any_map_is_followed_as_opencv_does,
    test_cameras_come_and_go,
    test_float16_is_rounded_as_numpy_does,
    test_patches_are_cut_as_on_the_cpu,
    test_strides_are_kept_to,
)

__all__ = [
    "test_a_bent_frame_is_answered_like_one_on_the_host",
    "test_a_bent_frame_is_straightened_as_on_the_cpu",
    "test_a_crop_is_warped_as_on_the_cpu",
    "test_any_map_is_followed_as_opencv_does",
    "test_cameras_come_and_go",
    "test_float16_is_rounded_as_numpy_does",
    "test_patches_are_cut_as_on_the_cpu",
    "test_strides_are_kept_to",
]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_crops_are_those_of_the_kernels_on_the_host(place: Place, dtype: str) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        image = noise(150, 210, seed)
        box = rng.uniform(-20, 105), rng.uniform(-20, 75), *rng.uniform(20, 210, 2)
        crop = SquareCrop.from_box(box, (210, 150), scale=1.25)
        got, expected = (
            made(where, WarpedCrop(frame_of(where, image), crop, 224, MEAN, STD), dtype)
            for where in (place, HostPlace())
        )
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("lens", BENT)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_patches_are_those_of_the_kernels_on_the_host(place: Place, lens: str, dtype: str) -> None:
    frame = FocalFrame(BENT[lens].size, 300.0, canonical_focal=410.0, crop=352)
    image = noise(256, 320, 4)
    got, expected = (
        made(where, CutPatches(frame_of(where, image), BENT[lens], frame, 16, 2, HALVES, HALVES), dtype)
        for where in (place, HostPlace())
    )
    np.testing.assert_array_equal(got, expected)
