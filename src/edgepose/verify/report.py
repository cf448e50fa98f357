# SPDX-License-Identifier: Apache-2.0
"""What verifying a bundle finds. Finding it does not belong here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CaseRun", "GraphResult", "NotRun", "VerifyReport"]


@dataclass(frozen=True, slots=True)
class CaseRun:
    """One stored case that was run once."""

    case: str
    profile: str | None
    """Optimisation profile of the engine; None in ONNX Runtime, which has none."""
    error: float
    """Largest `worst_row_error` over all outputs."""


@dataclass(frozen=True, slots=True)
class NotRun:
    """A stored case, or a profile of an engine, that nothing could be run of."""

    what: str
    """`case decode`, `profile suffix`."""
    reason: str


@dataclass(frozen=True, slots=True)
class GraphResult:
    """How one graph did on its goldens."""

    name: str
    tolerance: float
    """What `max_error` may be, as stored in the bundle."""
    seconds: float
    """Loading and running."""
    runs: tuple[CaseRun, ...]
    """Every case in every profile that takes it."""
    not_run: tuple[NotRun, ...] = ()
    """Cases that no profile takes, and profiles that take no case: nothing is known of these."""

    @property
    def max_error(self) -> float:
        """Largest error of a row over all outputs of all runs, see `worst_row_error`; infinite where an
        answer is not finite, and where nothing was run."""
        return max((run.error for run in self.runs), default=math.inf)

    @property
    def passed(self) -> bool:
        """Whether something was run and the error is within the tolerance."""
        return bool(self.runs) and self.max_error <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """See `VerifyReport.to_json`."""
        return {
            "name": self.name,
            "max_error": _finite(self.max_error),
            "tolerance": self.tolerance,
            "passed": self.passed,
            "seconds": self.seconds,
            "runs": [{**asdict(run), "error": _finite(run.error)} for run in self.runs],
            "not_run": [asdict(item) for item in self.not_run],
        }


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify_bundle` found."""

    bundle: str
    runtime: str
    """`onnxruntime`, `tensorrt` or `tensorrt_rtx`: what ran the graphs."""
    runtime_version: str
    graphs: tuple[GraphResult, ...]
    """In the order in which they run."""
    engines: str | None = None
    """Directory of the engines; None where the graphs themselves were run."""

    @property
    def passed(self) -> bool:
        """Whether every graph is within its tolerance."""
        return all(graph.passed for graph in self.graphs)

    def notes(self) -> list[str]:
        """A line for each thing that was not run."""
        return [
            f"{graph.name}: {item.what} not run: {item.reason}"
            for graph in self.graphs
            for item in graph.not_run
        ]

    def to_json(self) -> dict[str, Any]:
        """The report for `json.dumps`: `bundle`, `engines`, `runtime`, `runtime_version`, `passed`, and for
        each of `graphs` what `GraphResult` and its `runs` and `not_run` say; an error that is not finite
        becomes null."""
        return {
            "bundle": self.bundle,
            "engines": self.engines,
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "passed": self.passed,
            "graphs": [graph.to_json() for graph in self.graphs],
        }


def _finite(error: float) -> float | None:
    return error if math.isfinite(error) else None
