# SPDX-License-Identifier: Apache-2.0
"""What `engine.json` says of one engine: its file, the graph it was made from, its profiles and tensors.

What all engines of a directory have in common does not belong here: see `edgepose.engine`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgepose.bundle import FileSpec, external_data_file, graph_file
from edgepose.engine_files import file_problems

__all__ = ["Component", "Profile", "Tensor", "engine_file", "graph_hash"]


def engine_file(graph: str) -> str:
    """File name of an engine: `llm_decoder` -> `llm_decoder.engine`."""
    return f"{graph}.engine"


def graph_hash(files: Mapping[str, FileSpec], graph: str) -> str:
    """SHA-256 over the hashes that a bundle's manifest gives for a graph and its external weights."""
    names = [name for name in (graph_file(graph), external_data_file(graph)) if name in files]
    return hashlib.sha256("".join(f"{name} {files[name].sha256}\n" for name in names).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Profile:
    """One optimisation profile: the shapes of one kind of step."""

    name: str
    """`llm_decoder` has `prefix`, `suffix`, `step` and `draft`; other graphs name their own."""
    shapes: Mapping[str, tuple[tuple[int, ...], ...]]
    """Input name to (min, opt, max)."""

    def refusals(self, shapes: Mapping[str, Sequence[int]]) -> list[str]:
        """What is outside this profile, one line for each input; empty where all shapes fit."""
        wrong = []
        for name, (low, _, high) in self.shapes.items():
            given = tuple(shapes[name])
            if len(given) != len(low) or not all(
                a <= g <= b for a, g, b in zip(low, given, high, strict=True)
            ):
                wrong.append(f"{name} is {given}, profile {self.name} takes {low} to {high}")
        return wrong


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of an engine."""

    name: str
    mode: Literal["input", "output"]
    dtype: str
    """`float16`, `float32`, `int64`, ... as NumPy spells it."""
    shape: tuple[int, ...]
    """-1 where the dimension is known at run time only."""


@dataclass(frozen=True, slots=True)
class Component:
    """One engine and what it was made from."""

    file: str
    sha256: str
    bytes: int
    key: str
    """SHA-256 over everything that the engine depends on; equal keys need no rebuild."""
    graph_sha256: str
    """See `graph_hash`."""
    profiles: tuple[Profile, ...]
    """In the order of their indices in the engine."""
    tensors: tuple[Tensor, ...]
    device_memory: int
    """Bytes of activations that a context needs at the largest shapes; -1 where the library could not tell
    at build time."""
    seconds: float
    """How long it took to build."""

    def problems(self, directory: Path) -> list[str]:
        """What is wrong with the file; empty where it is sound. See `edgepose.engine_files`."""
        return file_problems(directory, self.file, self.bytes, self.sha256)

    def profile(self, name: str) -> int:
        """Index of a profile.

        Raises:
            KeyError: there is none of that name.
        """
        for index, profile in enumerate(self.profiles):
            if profile.name == name:
                return index
        raise KeyError(name)
