# SPDX-License-Identifier: Apache-2.0
"""Ask a model about every person of a data set, and measure what it says.

Metrics and data sets do not belong here, nor how results look: see `edgepose.evaluation.report`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepose.errors import InvalidInputError
from edgepose.evaluation.answer_log import AnswerLog, Line
from edgepose.evaluation.calibration import calibrate
from edgepose.evaluation.results import Evaluation
from edgepose.evaluation.samples import Answer, Dataset, Sample

if TYPE_CHECKING:
    from edgepose.localizer import Localizer
    from edgepose.results import Localization

__all__ = ["ANSWERS", "evaluate"]

ANSWERS = "answers.jsonl"
"""File of an evaluation's folder that a second run continues."""

_PEOPLE_AT_ONCE = 16  # answers that are lost at most when a run is stopped

Progress = Callable[[str, int, int], object]


def evaluate(
    localizer: Localizer,
    dataset: Dataset,
    *,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    settings: Mapping[str, str] | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on a data set.

    People of one image are asked about together. With `out`, every answer is written down as it comes, and a
    second call with the same arguments asks only for what is missing: after an interruption, or with a larger
    `limit`.

    Args:
        localizer: the model; anything with its `locate`, `ask` and `bundle` will do.
        dataset: see `edgepose.evaluation.open_dataset`.
        out: folder of `answers.jsonl`, made if there is none; `Evaluation.save` writes its files there too.
        limit: samples at most, from the first; None for all.
        settings: how the localizer was made, `decode` for instance: kept with the answers, which are refused
            when it changes.
        restart: forget answers of an earlier call.
        progress: called with `("people", done, total)`.

    Returns:
        Figures, tables, calibration, times, and the answers themselves.

    Raises:
        InvalidInputError: an image is missing, `out` holds answers of something else, or the model does not
            fit the data set.

    Example:
        >>> from edgepose import Localizer
        >>> from edgepose.evaluation import evaluate, open_dataset
        >>> people = open_dataset("coco", "person_keypoints_val2017.json", "val2017/")   # doctest: +SKIP
        >>> result = evaluate(Localizer("bundle/"), people, out="coco-eval/")            # doctest: +SKIP
        >>> result.metrics["AP"]                                                         # doctest: +SKIP
        >>> result.save("coco-eval/")                                                    # doctest: +SKIP
    """
    if limit is not None and limit < 1:
        raise InvalidInputError(f"[eval] expected a limit of at least 1; got {limit!r}; None takes all")
    samples = list(dataset.samples)[:limit]
    crops = localizer.bundle.manifest.crop is not None
    if not crops and any(sample.camera is None for sample in samples):
        raise InvalidInputError(
            f"[eval] expected a bundle that looks at one person's crop for {dataset.name}, whose images have "
            f"no camera; got one that looks at whole frames ({localizer.bundle.manifest.family}); choose "
            "another bundle, or data in the 3-D form"
        )
    system = {**_identity(localizer), **(settings or {})}
    log = AnswerLog(_log_file(out), _subject(dataset, system), restart=restart)
    missing = [sample for sample in samples if sample.id not in log.lines]
    done = len(samples) - len(missing)
    for together in _batches(missing, crops):
        if progress is not None:
            progress("people", done, len(samples))
        log.add(_ask(localizer, dataset, together, crops))
        done += len(together)
    if progress is not None:
        progress("people", done, len(samples))
    lines = [log.lines[sample.id] for sample in samples]
    answers = [
        Answer.from_json(line["keypoints"], sample.keypoints, _number(line.get("ms")))
        for sample, line in zip(samples, lines, strict=True)
    ]
    return Evaluation(
        dataset=dataset,
        samples=tuple(samples),
        answers=tuple(answers),
        system=system,
        measures=dataset.measure(samples, answers),
        calibration=_calibrations(samples, answers),
    )


def _log_file(out: str | os.PathLike[str] | None) -> Path | None:
    if out is None:
        return None
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"[eval] expected a folder to write to; got {str(folder)!r}: {error}; choose another"
        ) from error
    return folder / ANSWERS


def _identity(localizer: Localizer) -> dict[str, str]:
    """Which model answers, by content: a bundle may be moved between two runs."""
    manifest = localizer.bundle.manifest
    text = json.dumps(manifest.to_json(), sort_keys=True)
    engines = {} if localizer.engines is None else {"engines": localizer.engines}
    return {
        **engines,
        "bundle": Path(localizer.bundle.path).name,
        "family": manifest.family,
        "precision": manifest.precision.name,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _subject(dataset: Dataset, system: Mapping[str, str]) -> dict[str, Any]:
    return {
        "answers": 1,
        "dataset": dataset.name,
        "annotations_sha256": dataset.sha256,
        **{f"option {name}": value for name, value in dataset.options.items()},
        **{name: value for name, value in system.items() if name != "bundle"},
    }


def _batches(samples: Sequence[Sample], crops: bool) -> Iterator[list[Sample]]:
    """Neighbours that one call can answer: of one image and one question, if the model looks at crops."""
    batch: list[Sample] = []
    for sample in samples:
        fits = batch and crops and sample.command is None and len(batch) < _PEOPLE_AT_ONCE
        if batch and not (fits and _alike(batch[0]) == _alike(sample)):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _alike(sample: Sample) -> tuple[object, ...]:
    return sample.image, sample.keypoints, sample.command, sample.box is None


def _ask(localizer: Localizer, dataset: Dataset, samples: Sequence[Sample], crops: bool) -> list[Line]:
    pixels = dataset.images.load(samples[0].image)
    first = samples[0]
    located: Localization
    if first.command is not None:
        located = localizer.ask(pixels, first.command, camera=first.camera)
    elif crops:
        whole = (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))
        boxes = [whole if sample.box is None else sample.box for sample in samples]
        located = localizer.locate(pixels, boxes=boxes, keypoints=list(first.keypoints))
    else:
        located = localizer.locate(pixels, keypoints=list(first.keypoints), camera=first.camera)
    ms = located.timings_ms.get("total")
    return [
        {
            "id": sample.id,
            "keypoints": pose.to_json()["keypoints"],
            "ms": None if ms is None else ms / len(samples),
        }
        for sample, pose in zip(samples, located, strict=True)
    ]


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _calibrations(samples: Sequence[Sample], answers: Sequence[Answer]) -> dict[str, Any]:
    """Of the coordinates in the image, and in metres where there are such, axis by axis."""
    pairs = list(zip(samples, answers, strict=True))
    found = {
        "image": calibrate(
            np.concatenate([answer.xy - sample.xy for sample, answer in pairs]),
            np.concatenate([answer.std for _, answer in pairs]),
            "px",
        )
    }
    metric = [(s.xyz, a) for s, a in pairs if s.xyz is not None]
    if any(np.isfinite(answer.xyz).any() for _, answer in metric):
        found["space"] = calibrate(
            np.concatenate([answer.xyz - xyz for xyz, answer in metric]),
            np.concatenate([answer.xyz_std for _, answer in metric]),
            "m",
        )
    return {name: value for name, value in found.items() if value.count or value.without}
