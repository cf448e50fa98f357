# SPDX-License-Identifier: Apache-2.0
"""Collects what is wrong with a manifest whose fields all have the right type.

What must hold does not belong here: each spec checks itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgepose.records import shorten

__all__ = ["Check"]


@dataclass(slots=True)
class Check:
    """Problems found so far, and what all specs are checked against."""

    vocabulary: int
    """Rows of the embedding table."""
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, where: str, expected: str, got: object) -> None:
        """Note a problem unless `holds`."""
        if not holds:
            self.problems.append(f"{where}: expected {expected}; got {shorten(got)}")

    def within(self, where: str, got: float, low: float, high: float) -> None:
        """Note a number outside `[low, high]`."""
        self.expect(low <= got <= high, where, f"{low} to {high}", got)

    def triple(self, where: str, got: tuple[float, ...]) -> None:
        """Note anything but three numbers, one for each colour."""
        self.expect(len(got) == 3, where, "3 numbers", got)

    def tokens(self, where: str, ids: Iterable[int]) -> None:
        """Note token ids that have no row in the embedding table."""
        outside = [number for number in ids if not 0 <= number < self.vocabulary]
        self.expect(not outside, where, f"token ids in [0, {self.vocabulary})", outside)
