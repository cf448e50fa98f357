# SPDX-License-Identifier: Apache-2.0
"""taihri-nano: a small Qwen3-VL that answers where a person's joints are, in the image and in metres.

The published model is not trained here, and running models is the runtime's.
"""

from __future__ import annotations

from edgepose.training.taihri.checkpoint import create_checkpoint, open_model, save_checkpoint
from edgepose.training.taihri.sources import FrameSource, first_checkpoint
from edgepose.training.taihri.supervised import (
    SupervisedRecipe,
    SupervisedTask,
    evaluate_arms,
    supervised_task,
)

__all__ = [
    "FrameSource",
    "SupervisedRecipe",
    "SupervisedTask",
    "create_checkpoint",
    "evaluate_arms",
    "first_checkpoint",
    "open_model",
    "save_checkpoint",
    "supervised_task",
]
