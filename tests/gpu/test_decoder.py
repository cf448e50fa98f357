# SPDX-License-Identifier: Apache-2.0
"""The decoder's loop and kernels on a GPU, graphs on the CPU: the tests of tests/test_device_decoder.py."""

from __future__ import annotations

from ..test_device_decoder import (
    taihri_bundle,
    test_a_clip_is_tracked_as_on_the_host,
    test_a_clip_is_tracked_in_groups_as_on_the_host,
    test_a_person_is_located_as_on_the_host,
    test_joints_in_metres_are_located_as_on_the_host,
    test_more_keypoints_than_fit_at_once_are_located_in_groups,
    test_penalised_numbers_are_located_as_on_the_host,
)

__all__ = [
    "taihri_bundle",
    "test_a_clip_is_tracked_as_on_the_host",
    "test_a_clip_is_tracked_in_groups_as_on_the_host",
    "test_a_person_is_located_as_on_the_host",
    "test_joints_in_metres_are_located_as_on_the_host",
    "test_more_keypoints_than_fit_at_once_are_located_in_groups",
    "test_penalised_numbers_are_located_as_on_the_host",
]
