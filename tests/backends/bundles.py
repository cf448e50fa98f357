# SPDX-License-Identifier: Apache-2.0
"""Bundles in float32 that any machine has or can make, by what they stand for.

Of the built-in model that is its checkpoint: INT8, as it ships, makes much of sums in another order.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

_TREE = Path(__file__).parents[2]
_DATA = _TREE / "tests" / "data"
_MADE = tempfile.TemporaryDirectory(prefix="edgepose-bundles-")


@functools.cache
def bundle_of(family: str) -> str:
    """`posellm`, trained; `older`, of an older format; `taihri`, which answers in metres."""
    if family != "posellm":
        return str(_DATA / {"older": "bundle_v1", "taihri": "bundle_v2"}[family])
    from edgepose.export import export_bundle

    out = Path(_MADE.name) / family
    checkpoint = _TREE / "training" / "checkpoints" / "posellm-nano"
    export_bundle(family="posellm", checkpoint=checkpoint, out=out, precision="fp32")
    return str(out)


@pytest.fixture(scope="session")
def engines(
    build: Callable[[str | Path, Path], object], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The engine directory of a family's bundle."""
    root = tmp_path_factory.mktemp("engines")

    def find(family: str) -> Path:
        if not (root / family).exists():
            build(bundle_of(family), root / family)
        return root / family

    return find
