# SPDX-License-Identifier: Apache-2.0
"""Plans: which published tensor each canonical one is made of, and all that does not fit, in one message.

What the tensors of an architecture are called does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic

from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import Checkpoint, TensorSource
from edgepose.export.models.config import ConnectorSizes, ModelConfig, VisionSizes

__all__ = ["Adapter", "Entry", "Plan", "PlanBuilder", "Problems", "Shape"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A low-rank update of some rows of a matrix: `W[row : row + B.rows] += scale * B @ A`."""

    row: int
    down: str
    """File key of A, (r, in)."""
    up: str
    """File key of B, (out, r)."""
    scale: float


@dataclass(slots=True)
class Entry:
    """Where one canonical tensor comes from."""

    key: str
    """Key in the file."""
    shape: Shape
    """Of the canonical tensor."""
    adapters: list[Adapter] = field(default_factory=list)
    convert: Callable[[Tensor], Tensor] | None = None
    """Makes the canonical tensor of the one in the file; None where they are one."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[VisionSizes, ConnectorSizes]):
    """All that is known of a checkpoint before a tensor is read."""

    config: ModelConfig[VisionSizes, ConnectorSizes]
    entries: Mapping[str, Entry]
    """By canonical name."""


@dataclass(slots=True)
class Problems:
    """Everything that is wrong with the tensors of a checkpoint, for one message."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.missing) + len(self.unexpected) + len(self.wrong)

    def raise_if_any(self, checkpoint: Checkpoint, expected: str) -> None:
        """Raises one InvalidInputError for all; `expected` names the kind of checkpoint, with its article."""
        parts = [
            f"\n  {title} ({len(lines)}):" + "".join(f"\n    {line}" for line in lines)
            for title, lines in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("of a wrong shape or type", self.wrong),
            )
            if lines
        ]
        if parts:
            raise InvalidInputError(
                f"[weights] expected the tensors of {expected} checkpoint with the sizes of "
                f"{checkpoint.config_path}; in {checkpoint.path} these differ:{''.join(parts)}\n"
                "  use the config.json and the weights of one and the same training run"
            )


class PlanBuilder:
    """Collects entries, and compares what is expected with what is there."""

    def __init__(self, tensors: TensorSource, rename: Callable[[str], str | None]) -> None:
        """Names all tensors.

        Args:
            tensors: Tensors of the checkpoint.
            rename: Key in the file to published name without optional prefixes; None for tensors that take no
                part in inference.
        """
        self.tensors = tensors
        self.problems = Problems()
        self.keys: dict[str, str] = {}
        """Published name to key in the file."""
        self.entries: dict[str, Entry] = {}
        self._used: set[str] = set()
        for key in tensors.keys():  # noqa: SIM118  (not a mapping)
            name = rename(key)
            if name is None:
                continue
            if name in self.keys:
                self.problems.unexpected.append(f"{key}: means the same as {self.keys[name]}")
                continue
            self.keys[name] = key

    def shape(self, name: str) -> Shape | None:
        """Shape of a published tensor, or None where there is none."""
        return self.tensors.shape(self.keys[name]) if name in self.keys else None

    def check(self, name: str, shape: Shape) -> str | None:
        """Claims a published tensor; returns its key, or None after noting what is wrong."""
        self._used.add(name)
        if name not in self.keys:
            self.problems.missing.append(f"{name}: expected {list(shape)}")
            return None
        key = self.keys[name]
        found, dtype = self.tensors.shape(key), self.tensors.dtype(key)
        if found != shape:
            self.problems.wrong.append(f"{key}: found {list(found)}, expected {list(shape)}")
            return None
        if not dtype.is_floating_point:
            self.problems.wrong.append(f"{key}: found type {dtype}, expected a floating-point type")
            return None
        return key

    def expect_form(self, name: str, form: str, fits: Callable[[Shape], bool]) -> Shape | None:
        """The shape of a tensor that tells sizes; None after noting that it is not of the form.

        Args:
            name: Published name.
            form: The form in words, for the message.
            fits: Whether a shape is of the form.
        """
        shape = self.shape(name)
        if shape is None:
            self.problems.missing.append(f"{name}: expected {form}")
        elif not fits(shape):
            self.problems.wrong.append(f"{name}: found {list(shape)}, expected {form}")
        else:
            return shape
        return None

    def add(self, canonical: str, name: str, shape: Shape) -> Entry | None:
        """Expects a published tensor and gives it its canonical name."""
        key = self.check(name, shape)
        if key is None:
            return None
        self.entries[canonical] = Entry(key, shape)
        return self.entries[canonical]

    def add_pair(self, canonical: str, name: str, shape: Shape) -> None:
        """Expects `weight` of that shape and `bias` of its first dimension."""
        self.add(f"{canonical}.weight", f"{name}.weight", shape)
        self.add(f"{canonical}.bias", f"{name}.bias", shape[:1])

    def adapt(
        self, entry: Entry | None, row: int, rows: int, names: tuple[str, str], rank_scale: tuple[int, float]
    ) -> None:
        """Attaches the adapter `names = (A, B)` to `rows` rows of a matrix, if its tensors are there."""
        down_name, up_name = names
        if down_name not in self.keys and up_name not in self.keys:
            return
        rank, scale = rank_scale
        columns = entry.shape[1] if entry else (self.shape(down_name) or (rank, 0))[-1]
        down, up = self.check(down_name, (rank, columns)), self.check(up_name, (rows, rank))
        if entry and down and up:
            entry.adapters.append(Adapter(row, down, up, scale))

    def forgive(self, prefix: str) -> None:
        """Takes tensors for used that cannot be judged, because what tells their sizes is wrong."""
        self._used.update(name for name in self.keys if name.startswith(prefix))

    def note_unexpected(self) -> None:
        """Notes every tensor that nothing has asked for."""
        self.problems.unexpected += [
            f"{key}: found {list(self.tensors.shape(key))}"
            for name, key in self.keys.items()
            if name not in self._used
        ]
