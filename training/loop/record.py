# SPDX-License-Identifier: Apache-2.0
"""What a run leaves on disk: a log of lines, a state to resume from, and a picture of its curves.

Which numbers they hold is decided by the loop and its task.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgepose.errors import InvalidInputError

__all__ = ["TrainingLog", "draw_curves", "load_state", "save_state"]


@dataclass(slots=True)
class TrainingLog:
    """Lines of `log.jsonl`: each has `step`, `seconds`, `samples` and `lr`; the parts of the loss are in
    `train`, those of an evaluation in `evaluation`."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, *, step: int) -> TrainingLog:
        """The log of a run that goes on behind a step; later lines are removed from the file.

        Raises:
            InvalidInputError: a line of the file is not JSON.
        """
        rows = []
        if path.is_file() and step > 0:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InvalidInputError(
                        f"[training log] expected one JSON object in each line of {path}; got {line[:60]!r} "
                        f"in line {number}; remove that line"
                    ) from error
                if row["step"] <= step:
                    rows.append(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return cls(path, rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a line."""
        self.rows.append(dict(row))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def series(self, part: str) -> dict[str, tuple[list[int], list[float]]]:
        """Steps and values of each number of `train` or `evaluation`."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        for row in self.rows:
            for name, value in row.get(part, {}).items():
                steps, values = found.setdefault(name, ([], []))
                steps.append(row["step"])
                values.append(value)
        return found


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state so that a reader finds the old one or the new one, whenever the machine stops."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.tmp")
    with draft.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The state of an earlier run, or None where there is none.

    Raises:
        InvalidInputError: the file is no such state.
    """
    if not path.is_file():
        return None
    try:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it happens to meet
        raise InvalidInputError(
            f"[training] expected {path} to be the state of a run; got {error}; remove it to begin anew"
        ) from error
    return loaded


_DECADES = 30
"""Largest over least value from which on a linear axis would flatten what is small."""


def draw_curves(log: TrainingLog, path: Path, *, title: str) -> None:
    """Draws loss and evaluation over the steps as a PNG, on logarithmic axes where figures differ much."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, part in zip(figure.subplots(1, 2), ("train", "evaluation"), strict=True):
        series = log.series(part)
        drawn = [value for _, values in series.values() for value in values]
        if drawn and min(drawn) > 0 and max(drawn) > _DECADES * min(drawn):
            axes.set_yscale("log")
        for name, (steps, values) in series.items():
            axes.plot(steps, values, label=name, linewidth=1, marker="." if part == "evaluation" else "")
        axes.set_xlabel("step")
        axes.set_title(f"{title}: {part}")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=100, metadata={"Software": None})
