# SPDX-License-Identifier: Apache-2.0
"""Trains taihri-nano: the encoder alone, then the whole model to answer, then by rewards.

The stages with their numbers are data: `training/nano/taihri-nano.json`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgepose.training.loop import CHECKPOINT, Schedule, Task, train
from edgepose.training.nano import load_nano
from edgepose.training.recipes import TrainingRequest
from edgepose.training.reinforcement import reinforcement_task
from edgepose.training.taihri.sources import FrameSource, first_checkpoint
from edgepose.training.taihri.supervised import supervised_task

__all__ = ["train_nano"]

Progress = Callable[[str, int, int], None]

_TASKS: Mapping[str, Callable[..., Task]] = MappingProxyType(
    {"supervised": supervised_task, "reinforcement": reinforcement_task}
)


def train_nano(request: TrainingRequest, *, progress: Progress | None = None) -> Path:
    """Trains all stages one after the other; see `edgepose.training.recipes.train_model`.

    Each stage leaves its checkpoint in a folder of its name.
    """
    nano = load_nano(request.model)
    work = request.work or request.out / "cache"
    before = request.start or first_checkpoint(work / "start", nano, seed=request.seed)
    source = FrameSource.open(work, nano, before, mocap=request.mocap, device=request.device)
    for stage in nano["stages"]:
        folder = request.out / stage["name"]
        options = stage["schedule"]
        schedule = Schedule(
            seconds=60 * request.minutes * stage["share"],
            seed=request.seed,
            **{**options, "betas": tuple(options.get("betas", (0.9, 0.98)))},
        )
        task = _TASKS[stage["task"]](
            f"{request.model} {stage['name']}", before, stage["options"], source.draw, source.validation
        )
        train(
            task,
            folder,
            schedule,
            device=request.device,
            resume=request.resume,
            progress=_titled(stage, progress),
        )
        before = folder / CHECKPOINT
    return Path(shutil.copytree(before, request.out / CHECKPOINT, dirs_exist_ok=True))


def _titled(stage: Mapping[str, Any], progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, total: progress(f"{stage['name']}: {what}", done, total)
