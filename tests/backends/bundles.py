# SPDX-License-Identifier: Apache-2.0
"""Bundles that any machine has, by what they stand for."""

from __future__ import annotations

from pathlib import Path

_DATA = Path(__file__).parents[1] / "data"

BUNDLES = {"posellm": "posellm-nano", "older": str(_DATA / "bundle_v1"), "taihri": str(_DATA / "bundle_v2")}
"""The trained built-in model, one of an older format, and one that answers in metres."""
