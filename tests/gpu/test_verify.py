# SPDX-License-Identifier: Apache-2.0
"""Engines on a GPU against PyTorch's stored answers: the tests of tests/backends/test_verify_engines.py."""

from __future__ import annotations

from ..backends.test_verify_engines import (
    test_an_engine_with_other_weights_fails,
    test_engines_answer_as_pytorch_did,
    test_engines_of_something_else_are_refused,
    test_masked_slots_are_what_makes_goldens_fit,
    test_the_command_prints_a_table_or_json,
    test_what_no_profile_takes_is_no_pass,
)

__all__ = [
    "test_an_engine_with_other_weights_fails",
    "test_engines_answer_as_pytorch_did",
    "test_engines_of_something_else_are_refused",
    "test_masked_slots_are_what_makes_goldens_fit",
    "test_the_command_prints_a_table_or_json",
    "test_what_no_profile_takes_is_no_pass",
]
