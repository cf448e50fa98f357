# SPDX-License-Identifier: Apache-2.0
"""What `edgepose train` can train, and what it is asked for.

How a model is trained belongs to its own folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from edgepose.errors import InvalidInputError

__all__ = ["RECIPES", "Recipe", "TrainingRequest", "train_model"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """Everything a user may say of a training; a recipe refuses what it has no use for."""

    model: str
    """One of `RECIPES`."""
    out: Path
    """Directory for the stages, their logs and curves, and the finished `checkpoint`."""
    minutes: float
    """Wall-clock budget of all stages together; earlier runs into the same directory count."""
    photographs: Path | None = None
    """Directory of annotated photographs."""
    mocap: Path | None = None
    """File of motion capture."""
    start: Path | None = None
    """Checkpoint to begin with; default: new weights."""
    work: Path | None = None
    """Directory for decoded and rendered pictures; default: `cache` inside `out`."""
    seed: int = 0
    device: str = "cpu"
    processes: int = 1
    """Processes that share the work, each with its part of the threads."""
    resume: bool = True
    """Whether to go on where an earlier run into `out` stopped."""


class Recipe(Protocol):
    """Trains one model."""

    def __call__(self, request: TrainingRequest, *, progress: Progress | None = None) -> Path:
        """Trains; returns the directory of the finished checkpoint."""
        ...


RECIPES: Mapping[str, str] = MappingProxyType(
    {
        "posellm-nano": "edgepose.training.posellm.recipe",
        "taihri-nano": "edgepose.training.taihri.recipe",
    }
)
"""Model to the module whose `train_nano` is its recipe."""


def train_model(request: TrainingRequest, *, progress: Progress | None = None) -> Path:
    """Trains a model by its recipe.

    Args:
        request: What is wanted.
        progress: Called with the stage, steps done and steps in all.

    Returns:
        Directory of the finished checkpoint, for `edgepose export`.

    Raises:
        InvalidInputError: there is no recipe of that name, the budget is not above 0, or data is missing.
    """
    if request.model not in RECIPES:
        raise InvalidInputError(
            f"[train] expected a model out of {', '.join(RECIPES)}; got {request.model!r}; name one of them"
        )
    if not request.minutes > 0:
        raise InvalidInputError(
            f"[train] expected a budget of more than 0 minutes; got {request.minutes}; give it some"
        )
    recipe: Recipe = importlib.import_module(RECIPES[request.model]).train_nano
    return recipe(request, progress=progress)
