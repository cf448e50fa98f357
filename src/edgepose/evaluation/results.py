# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found, as numbers, as JSON and as files.

How figures come about does not belong here, nor how the page looks: see `edgepose.evaluation.report`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.errors import InvalidInputError
from edgepose.evaluation.calibration import Calibration
from edgepose.evaluation.samples import Answer, Dataset, Measures, Sample
from edgepose.keypoint import finite_or_none

__all__ = ["PAGE", "RESULT", "Evaluation"]

RESULT = "evaluation.json"
"""File of the numbers."""
PAGE = "report.html"
"""File of the page."""

_CASES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How well a model does on a data set."""

    dataset: Dataset
    """What was asked."""
    samples: tuple[Sample, ...]
    """The people that were asked about, in order."""
    answers: tuple[Answer, ...]
    """The answers, in the same order."""
    system: Mapping[str, str]
    """What answered: bundle, family, precision, SHA-256 of its manifest, and the caller's settings."""
    measures: Measures
    """Figures, tables, and each sample's score."""
    calibration: Mapping[str, Calibration]
    """Of the standard deviations: `image` in pixels, `space` in metres."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The figures that are published for such data sets, by their usual names."""
        return self.measures.metrics

    @property
    def milliseconds(self) -> Mapping[str, float]:
        """Median, 90th percentile and mean of the time of an answer; empty if none was taken."""
        taken = np.array([answer.milliseconds for answer in self.answers])
        taken = taken[np.isfinite(taken)]
        if not len(taken):
            return {}
        return {
            "median": float(np.median(taken)),
            "p90": float(np.percentile(taken, 90)),
            "mean": float(taken.mean()),
        }

    def best(self, count: int = _CASES) -> list[int]:
        """Places of the samples with the best scores, the best first; of few samples the better half."""
        ranked = self._ranked()
        return ranked[: min(count, (len(ranked) + 1) // 2)]

    def worst(self, count: int = _CASES) -> list[int]:
        """Places of the samples with the worst scores, the worst first; of few samples the worse half."""
        ranked = self._ranked()
        return ranked[::-1][: min(count, len(ranked) // 2)]

    def _ranked(self) -> list[int]:
        scores = -self.measures.scores if self.measures.higher_is_better else self.measures.scores
        order = np.argsort(scores, kind="stable")  # NaN, samples without a score, at the end
        return [int(place) for place in order if not np.isnan(scores[place])]

    def to_json(self) -> dict[str, Any]:
        """Value for `json.dumps`. Numbers that are not finite become None."""
        from edgepose import __version__

        return {
            "format": 1,
            "edgepose": __version__,
            "dataset": self.dataset.name,
            "annotations": self.dataset.annotations,
            "annotations_sha256": self.dataset.sha256,
            "options": dict(self.dataset.options),
            "system": dict(self.system),
            "samples": len(self.samples),
            "metrics": _numbers(self.metrics),
            "tables": {
                table.title: {row: _numbers(cells) for row, cells in table.rows.items()}
                for table in self.measures.tables
            },
            "calibration": {name: value.to_json() for name, value in self.calibration.items()},
            "milliseconds": _numbers(self.milliseconds),
            "score": self.measures.score,
            "best": self._cases(self.best()),
            "worst": self._cases(self.worst()),
            "notes": [*self.dataset.notes, *self.measures.notes],
        }

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write `evaluation.json` and `report.html`, a page with its pictures in it, into a folder.

        Returns:
            Their paths.

        Raises:
            InvalidInputError: they cannot be written.
        """
        from edgepose.evaluation.report import page

        where = Path(folder)
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        data = _write(where / RESULT, text)
        return data, _write(where / PAGE, page(self))

    def _cases(self, places: list[int]) -> list[dict[str, Any]]:
        return [
            {
                "id": self.samples[place].id,
                "image": self.samples[place].image,
                "score": finite_or_none(self.measures.scores[place]),
            }
            for place in places
        ]

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"Evaluation({self.dataset.name!r}, {len(self.samples)} samples, {figures})"


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: finite_or_none(value) for name, value in values.items()}


def _write(path: Path, text: str) -> Path:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"[eval] expected a folder that can be written to; got {str(path.parent)!r}: {error}; "
            "choose another"
        ) from error
    return path
