# SPDX-License-Identifier: Apache-2.0
"""What messages about a checkpoint are put together from.

What is expected of its files does not belong here.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["first_line", "some"]


def some(names: Iterable[str], limit: int = 20) -> str:
    """Names in one line, those beyond `limit` counted only."""
    listed = list(names)
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest


def first_line(error: BaseException) -> str:
    """What an error says in its first line, or else its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
