# SPDX-License-Identifier: Apache-2.0
"""What an architecture is: the pieces in which models differ, besides their sizes.

The architectures themselves are in files of their own beside this one. The decoder is not among the pieces:
all architectures share one, whose differences are numbers of its configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgepose.bundle import PrecisionSpec, VisionSpec
from edgepose.export.checkpoint import Checkpoint
from edgepose.export.models.config import ConnectorSizes, ModelConfig, VisionSizes
from edgepose.export.weights.plan import Plan

__all__ = ["Architecture", "Arrays", "Tensors"]

Arrays = Mapping[str, NDArray[np.generic]]
"""Inputs of a graph, by name."""

Tensors = Mapping[str, Tensor]
"""Inputs or outputs of a module, under the names that the graph gives them; or weights by canonical name."""


class Architecture(ABC, Generic[VisionSizes, ConnectorSizes]):
    """One architecture; instances hold no state.

    A connector takes the outputs of the vision encoder by name. Of its outputs `image_embeddings` go into the
    prompt, one row for each image token, and `deepstack.{k}` behind layer k of the decoder, at the same
    tokens.
    """

    @abstractmethod
    def plan(self, checkpoint: Checkpoint) -> Plan[VisionSizes, ConnectorSizes]:
        """Sizes of a checkpoint and the place of every canonical tensor, without reading tensor data.

        Raises:
            InvalidInputError: Fields of the configuration, or tensors, are missing, unexpected or of a wrong
                shape; one message lists all of them.
        """

    @abstractmethod
    def vision_spec(self, config: ModelConfig[VisionSizes, ConnectorSizes]) -> VisionSpec:
        """What the manifest says of the vision encoder."""

    @abstractmethod
    def write_vision_encoder(
        self,
        path: Path,
        config: ModelConfig[VisionSizes, ConnectorSizes],
        weights: Tensors,
        precision: PrecisionSpec,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Writes the graph of the vision encoder.

        Args:
            path: `.onnx` file to write; weights go to `PATH.data`.
            config: Sizes of all parts.
            weights: Canonical name to tensor; read one at a time.
            precision: Types of weights and activations.
            progress: Called with layers done and layers in all.
        """

    @abstractmethod
    def write_connector(
        self,
        path: Path,
        config: ModelConfig[VisionSizes, ConnectorSizes],
        weights: Tensors,
        precision: PrecisionSpec,
    ) -> None:
        """Writes the graph of the connector; arguments as for `write_vision_encoder`."""

    @abstractmethod
    def sample_vision_inputs(
        self, config: ModelConfig[VisionSizes, ConnectorSizes], dtype: np.dtype[Any], seed: int
    ) -> dict[str, NDArray[np.generic]]:
        """Inputs of the vision encoder's graph for a small picture.

        Args:
            config: Sizes of all parts.
            dtype: Activation type.
            seed: Chooses the picture.
        """

    @abstractmethod
    def run_vision_encoder(
        self, config: ModelConfig[VisionSizes, ConnectorSizes], weights: Tensors, inputs: Tensors
    ) -> dict[str, Tensor]:
        """Outputs of the vision encoder in PyTorch, float32, under the names of the graph's."""

    @abstractmethod
    def run_connector(
        self, config: ModelConfig[VisionSizes, ConnectorSizes], weights: Tensors, inputs: Tensors
    ) -> dict[str, Tensor]:
        """Outputs of the connector in PyTorch, float32, for outputs of the vision encoder."""
