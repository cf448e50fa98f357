# SPDX-License-Identifier: Apache-2.0
"""Engines on a GPU measured on a data set: the test of tests/backends/test_eval_engines.py."""

from __future__ import annotations

from ..backends.test_eval_engines import people, test_engines_are_measured_like_the_cpu_and_apart_from_it

__all__ = ["people", "test_engines_are_measured_like_the_cpu_and_apart_from_it"]
