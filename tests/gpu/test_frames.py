# SPDX-License-Identifier: Apache-2.0
"""Frames in a GPU's memory, preprocessed there: the tests of tests/backends/test_gpu_frames.py."""

from __future__ import annotations

from ..backends.test_gpu_frames import (
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
