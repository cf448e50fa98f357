# SPDX-License-Identifier: Apache-2.0
"""Where the frames of a training come from: rendered into a folder, ahead of the training that reads them.

What a task does with its frames does not belong here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgepose.export.random_checkpoint import RandomQwen3VlSize
from edgepose.training.rendering import PoseLibrary
from edgepose.training.taihri.checkpoint import create_checkpoint
from edgepose.training.taihri.frames import Frames
from edgepose.training.taihri.language import Language
from edgepose.training.taihri.scenes import Scenes, fill_store, fill_store_ahead
from edgepose.training.taihri.store import FrameStore

__all__ = ["VALIDATION_SUBJECTS", "FrameSource", "first_checkpoint", "pose_libraries", "scenes_of"]

VALIDATION_SUBJECTS = ("03",)
"""People of the motion capture whose poses are never trained on."""

_FIRST_CHUNKS = 8
"""Chunks that have to be there before training begins; the others follow while it runs."""

_PRIOR_SHARE = 0.3
"""Share of training poses from joint limits where there is motion capture too."""


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Frames to train on, and others to validate on."""

    store: FrameStore
    validation: list[Frames]
    """Frames of the unseen people, those of each entry of one size."""

    @classmethod
    def open(
        cls,
        folder: Path,
        described: Mapping[str, Any],
        checkpoint: Path,
        *,
        mocap: str | os.PathLike[str] | None,
        chunks: int | None = None,
        ahead: bool = True,
        device: str = "cpu",
    ) -> FrameSource:
        """Renders what is not there yet.

        Args:
            folder: For the frames, in `frames` and `validation`; those of an earlier run are used again.
            described: The model's description, see `edgepose.training.nano`.
            checkpoint: Says how frames are seen and what is answered.
            mocap: `.npz` file of recorded poses; None for poses within joint limits only.
            chunks: Chunks of training frames; default: as described.
            ahead: Whether a process beside this one renders most of them while this one goes on; otherwise
                all are rendered at once, here. A GPU renders at once.
            device: Where to render.

        Raises:
            InvalidInputError: A file is unusable.
        """
        language = Language.open(checkpoint)
        scenes = scenes_of(described)
        wanted = described["chunks"]["training"] if chunks is None else chunks
        learnt, unseen = pose_libraries(mocap)
        given = (language.view, language.codec)
        fixed = replace(scenes, seed=scenes.seed + 1, focal=(scenes.usual_focal,) * 2, true_share=1.0)
        validation = fill_store(
            folder / "validation",
            described["chunks"]["validation"],
            fixed,
            *given,
            poses=unseen,
            device=device,
        )
        beside = ahead and torch.device(device).type == "cpu"
        now = min(wanted, _FIRST_CHUNKS) if beside else wanted
        store = fill_store(folder / "frames", now, scenes, *given, poses=learnt, device=device)
        if len(store.numbers) < wanted:
            fill_store_ahead(folder / "frames", wanted, scenes, *given, poses=learnt)
        return cls(store, [validation.get([number]) for number in validation.numbers])

    def draw(self, count: int, generator: torch.Generator) -> Frames:
        """Random frames of one size, of all that have been rendered so far."""
        self.store.refresh()
        return self.store.draw(count, generator)


def first_checkpoint(folder: Path, described: Mapping[str, Any], *, seed: int = 0) -> Path:
    """A checkpoint that has learnt nothing, unless there is one already."""
    if not (folder / "model.safetensors").exists():
        numbers = described["size"]
        size = RandomQwen3VlSize(**{**numbers, "taps": tuple(numbers["taps"])})
        create_checkpoint(folder, size, canonical_focal=described["canonical_focal"], seed=seed)
    return folder


def scenes_of(described: Mapping[str, Any]) -> Scenes:
    """The scenes of a model's description."""
    numbers = described["scenes"]
    return Scenes(**{**numbers, **{name: tuple(numbers[name]) for name in ("size", "focal", "distance")}})


def pose_libraries(mocap: str | os.PathLike[str] | None) -> tuple[PoseLibrary, PoseLibrary]:
    """Poses to train on, and those of unseen people to validate on."""
    if mocap is None:
        return PoseLibrary.priors(), PoseLibrary.priors()
    learnt = [subject for subject in _subjects(mocap) if subject not in VALIDATION_SUBJECTS]
    recorded = PoseLibrary.from_mocap(mocap, subjects=learnt)
    return (
        PoseLibrary.mixed((1 - _PRIOR_SHARE, recorded), (_PRIOR_SHARE, PoseLibrary.priors())),
        PoseLibrary.from_mocap(mocap, subjects=VALIDATION_SUBJECTS, varied=False),
    )


def _subjects(mocap: str | os.PathLike[str]) -> Sequence[str]:
    with np.load(mocap) as stored:
        return sorted(set(map(str, stored["subject"].tolist())))
