# SPDX-License-Identifier: Apache-2.0
"""What verifying asks of whatever runs graphs.

Doing it does not belong here: see `edgepose.verify.sessions` and `edgepose.verify.engine_runs`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from edgepose.verify.goldens import Arrays

__all__ = ["Answers", "OpenGraph", "Runtime"]


@dataclass(frozen=True, slots=True, repr=False)
class Answers:
    """What a graph answered to the inputs of a case."""

    copies: tuple[Arrays, ...]
    """The outputs by name, once for each time that the inputs were given; empty where they did not fit."""
    misfit: str = ""
    """Why the inputs did not fit."""


class OpenGraph(Protocol):
    """One graph that is loaded."""

    @property
    def profiles(self) -> tuple[str | None, ...]:
        """Ways in which the graph can be run: names of an engine's profiles, or None alone."""
        ...

    def run(self, inputs: Arrays, profile: str | None) -> Answers:
        """Run the graph on named arrays.

        Args:
            inputs: as the bundle's graph takes them, empty caches included.
            profile: one of `profiles`.
        """
        ...


class Runtime(Protocol):
    """What runs a bundle's graphs, one after the other."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def open(self, graph: str) -> AbstractContextManager[OpenGraph]:
        """Load a graph, and give back what it takes at the end."""
        ...
