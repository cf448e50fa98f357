# SPDX-License-Identifier: Apache-2.0
"""The callable that is told how far something long has come.

Showing it does not belong here: see `edgepose.cli.progress`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""`progress(stage, done, total)`: called while something long goes on; `done == total` ends a stage."""
