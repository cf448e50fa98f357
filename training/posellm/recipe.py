# SPDX-License-Identifier: Apache-2.0
"""Trains posellm-nano: first the encoder alone, then everything, on small crops and then on large ones.

The stages with their numbers are data: `training/nano/posellm-nano.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from edgepose.training.loop import CHECKPOINT, Schedule, start_team, train
from edgepose.training.nano import load_nano
from edgepose.training.photographs import TRAINING, VALIDATION, Augmentation, Photographs, read_lspet
from edgepose.training.posellm.crops import CropBatch, CropSource, Mixture
from edgepose.training.posellm.rendered import pose_library, rendered_people
from edgepose.training.posellm.task import AnswersTask, PlacesTask
from edgepose.training.recipes import TrainingRequest

__all__ = ["train_described", "train_nano"]

Progress = Callable[[str, int, int], None]

_TASKS = MappingProxyType({"places": PlacesTask, "answers": AnswersTask})

_RENDERED_AGAIN = Augmentation(scale=0.15, rotation=25.0, shift=0.06)
"""How rendered crops are varied once more; they were scaled and turned when they were drawn."""

_TRAINING_SEED, _TEST_SEED = 1_000, 900_000
"""First seeds of the rendered parts."""


def train_nano(request: TrainingRequest, *, progress: Progress | None = None) -> Path:
    """Trains all stages one after the other; see `edgepose.training.recipes.train_model`."""
    return train_described(load_nano(request.model), request, progress=progress)


def train_described(
    nano: Mapping[str, Any], request: TrainingRequest, *, progress: Progress | None = None
) -> Path:
    """As `train_nano`, for a description of one's own.

    Args:
        nano: As `edgepose.training.nano.load_nano` reads them.
        request: What is wanted; its model only names the training.
        progress: Called with the stage, steps done and steps in all.
    """
    data = _Data(nano["data"], nano["crop_size"], request, progress)
    with start_team(request.processes, nano["parameters"], train_as_one_of_several, nano, request):
        task = _train_stages(nano, data, request, progress)
    finished: Path = task.save(request.out / CHECKPOINT)
    return finished


def train_as_one_of_several(nano: Mapping[str, Any], request: TrainingRequest) -> None:
    """What the other processes of a team do; pictures come from the files that the first has made."""
    _train_stages(nano, _Data(nano["data"], nano["crop_size"], request, None), request, None)


def _train_stages(
    nano: Mapping[str, Any], data: _Data, request: TrainingRequest, progress: Progress | None
) -> AnswersTask | PlacesTask:
    before = request.start
    for stage in nano["stages"]:
        folder = request.out / stage["name"]
        task: AnswersTask | PlacesTask = _TASKS[stage["task"]](
            nano,
            data.mixture,
            data.validation(stage["size"]),
            size=stage["size"],
            seed=request.seed,
            **(stage["options"] if request.device == "cpu" else stage["options"] | stage["accelerated"]),
        )
        if before is not None:
            task.load(before)
        budget = {"seconds": 60 * request.minutes * stage["share"], **stage["schedule"]}
        schedule = Schedule(seed=request.seed, **budget)
        shown = _titled(stage, progress)
        train(task, folder, schedule, device=request.device, resume=request.resume, progress=shown)
        before = folder / CHECKPOINT
    return task


class _Data:
    """Pictures to train on and to validate on."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        size: int,
        request: TrainingRequest,
        progress: Progress | None,
    ) -> None:
        cache = request.work or request.out / "cache"
        self._count = settings["validation"]
        sources: list[tuple[CropSource, float]] = []
        self._validation: dict[str, CropSource] = {}
        if request.photographs is not None:
            read = {
                part: read_lspet(request.photographs, part, cache=cache, progress=progress)
                for part in (TRAINING, VALIDATION)
            }
            sources.append((CropSource(read[TRAINING], augmentation=Augmentation()), settings["photographs"]))
            self._validation["photographs"] = CropSource(read[VALIDATION], augmentation=None)

        def drawn(count: int, seed: int, *, test: bool) -> Photographs:
            return rendered_people(
                count,
                seed=seed,
                size=size,
                poses=pose_library(request.mocap, test=test),
                label=f"{'test' if test else 'train'}{'' if request.mocap else '_priors'}",
                augment=not test,
                device=request.device,
                cache=cache,
                progress=progress,
            )

        if settings["rendered"] > 0:
            people = drawn(settings["rendered_crops"], _TRAINING_SEED, test=False)
            source = CropSource(people, augmentation=_RENDERED_AGAIN, cropped=True)
            sources.append((source, settings["rendered"]))
            people = drawn(self._count, _TEST_SEED, test=True)
            self._validation["rendered"] = CropSource(people, augmentation=None, cropped=True)
        self.mixture = Mixture(sources)

    def validation(self, size: int) -> dict[str, CropBatch]:
        """Crops of one size, evenly out of each set."""
        found = {}
        for name, source in self._validation.items():
            places = np.linspace(0, len(source) - 1, min(self._count, len(source))).astype(int).tolist()
            found[name] = CropBatch(*map(torch.from_numpy, source.take(places, size)))
        return found


def _titled(stage: Mapping[str, Any], progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, total: progress(f"{stage['name']}: {what}", done, total)
