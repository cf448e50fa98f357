# SPDX-License-Identifier: Apache-2.0
"""What the training loop asks of whatever it trains.

Models, data and losses do not belong here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Task"]


class Task(Protocol):
    """A model with its data, its loss and its way to disk."""

    name: str
    """For the log and the title of the curves."""
    model: nn.Module
    """What is trained. The loop moves it to the device; batches follow it there."""

    def batch(self, generator: torch.Generator) -> Any:
        """Makes one batch; everything random in it comes from the generator, which the loop seeds from its
        seed and the step."""
        ...

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """`loss`, a scalar, is minimised; `samples`, if there, counts the samples of the batch; all other
        scalars are logged."""
        ...

    def evaluate(self) -> dict[str, float]:
        """A quick validation, seconds; the loop has put the model into evaluation mode."""
        ...

    def save(self, folder: Path) -> Path:
        """Writes the model as a checkpoint in its published layout; returns the directory."""
        ...

    def load(self, folder: Path) -> None:
        """Takes its weights from such a checkpoint."""
        ...
