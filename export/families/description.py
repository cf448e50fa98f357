# SPDX-License-Identifier: Apache-2.0
"""What a model family is: the fields in which families differ.

The families themselves are in files of their own beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgepose.export.prompts import PromptFormat

__all__ = ["CLIP_MEAN", "CLIP_STD", "CropNumbers", "Family"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class CropNumbers:
    """How a box becomes a crop and a crop becomes pixels; the crop's size comes from the checkpoint."""

    scale: float
    """Side of the square crop over the longer side of the box."""
    mean: tuple[float, float, float]
    """Subtracted from RGB in [0, 1]."""
    std: tuple[float, float, float]
    """Divided by, after that."""


@dataclass(frozen=True, slots=True)
class Family:
    """Everything that differs between systems, apart from sizes, which come from the checkpoint."""

    name: str
    model_types: tuple[str, ...]
    """Accepted values of `model_type` in `config.json`."""
    connector: Literal["linear", "mlp"]
    prompt_formats: tuple[PromptFormat, ...]
    """Formats the family was published with; the first is the default."""
    codec_places: tuple[int, ...]
    """Decimals of each number of an answer: x, y and, where there are three, depth."""
    answer_tokens: int
    """Length of an answer without the end token; the published code generates no further."""
    crop: CropNumbers
    keypoint_set: str
    """Name of the default keypoint set."""
    answer: Literal["2d", "3d"] = "2d"
    """Name of what this description answers; a family published with several answers has one for each."""
    depth_range_mm: float | None = None
    """Millimetres that the third number spans, 0.5 at the root joint; None where there is no third."""

    @property
    def default_prompt_format(self) -> PromptFormat:
        """Format the published weights were trained with."""
        return self.prompt_formats[0]

    @property
    def connector_text(self) -> str:
        """The connector in words, for messages."""
        return {"linear": "a connector of 1 linear layer", "mlp": "a connector of 2 or more linear layers"}[
            self.connector
        ]

    def accepts(self, model_type: object, connector_layers: int) -> bool:
        """Whether a checkpoint with that `model_type` and that many linear layers is of this family."""
        kind = "linear" if connector_layers == 1 else "mlp"
        return model_type in self.model_types and kind == self.connector
