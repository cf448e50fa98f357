# SPDX-License-Identifier: Apache-2.0
"""Sizes of a whole model.

The parts' own sizes are described where the parts are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from edgepose.export.models.llama import DecoderConfig

__all__ = ["ConnectorSizes", "ModelConfig", "VisionSizes"]

VisionSizes = TypeVar("VisionSizes")
"""Sizes of a vision encoder."""

ConnectorSizes = TypeVar("ConnectorSizes")
"""Sizes of a connector."""


@dataclass(frozen=True, slots=True)
class ModelConfig(Generic[VisionSizes, ConnectorSizes]):
    """Sizes of all parts; vision encoder and connector are described by classes of the architecture."""

    vision: VisionSizes
    connector: ConnectorSizes
    decoder: DecoderConfig
    tied_head: bool = False
    """Whether the head is the embedding table itself."""
    image_token: int = 32000
    """Placeholder id that stands for one row of image embeddings in a prompt; never embedded."""
