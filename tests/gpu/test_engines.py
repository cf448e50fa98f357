# SPDX-License-Identifier: Apache-2.0
"""Engines on a GPU against ONNX Runtime on the CPU: the tests of tests/backends/test_tensorrt.py."""

from __future__ import annotations

from ..backends.test_tensorrt import (
    test_a_command_and_a_clip_fit_the_profiles,
    test_a_replay_is_what_the_engines_would_do_anyway,
    test_answers_are_those_of_the_cpu,
    test_many_frames_take_no_more_memory_than_a_few,
    test_more_keypoints_than_the_engines_batch_are_located_in_groups,
    test_stages_are_parts_of_the_whole_time,
)

__all__ = [
    "test_a_command_and_a_clip_fit_the_profiles",
    "test_a_replay_is_what_the_engines_would_do_anyway",
    "test_answers_are_those_of_the_cpu",
    "test_many_frames_take_no_more_memory_than_a_few",
    "test_more_keypoints_than_the_engines_batch_are_located_in_groups",
    "test_stages_are_parts_of_the_whole_time",
]
