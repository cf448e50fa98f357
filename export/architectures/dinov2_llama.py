# SPDX-License-Identifier: Apache-2.0
"""DINOv2, a chain of linear layers and Llama: the architecture of LocLLM and PoseLLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgepose.bundle import PrecisionSpec, VisionSpec
from edgepose.export.architectures.description import Architecture, Tensors
from edgepose.export.checkpoint import Checkpoint
from edgepose.export.goldens import sample_pixels
from edgepose.export.graphs.connector import write_connector
from edgepose.export.graphs.dinov2 import write_vision_encoder
from edgepose.export.models.connector import Connector, ConnectorConfig
from edgepose.export.models.dinov2 import VisionConfig, VisionEncoder
from edgepose.export.models.loading import load_module
from edgepose.export.models.posellm import PoseConfig
from edgepose.export.weights.dinov2_llama import plan_dinov2_llama
from edgepose.export.weights.plan import Plan

__all__ = ["DINOV2_LLAMA"]


class _Dinov2Llama(Architecture[VisionConfig, ConnectorConfig]):
    def plan(self, checkpoint: Checkpoint) -> Plan[VisionConfig, ConnectorConfig]:
        return plan_dinov2_llama(checkpoint)

    def vision_spec(self, config: PoseConfig) -> VisionSpec:
        return VisionSpec(hidden=config.vision.hidden, patches=config.vision.patches)

    def write_vision_encoder(
        self,
        path: Path,
        config: PoseConfig,
        weights: Tensors,
        precision: PrecisionSpec,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        write_vision_encoder(path, config.vision, weights, precision, progress=progress)

    def write_connector(
        self, path: Path, config: PoseConfig, weights: Tensors, precision: PrecisionSpec
    ) -> None:
        write_connector(path, config.connector, weights, precision, patches=config.vision.patches)

    def sample_vision_inputs(
        self, config: PoseConfig, dtype: np.dtype[Any], seed: int
    ) -> dict[str, NDArray[np.generic]]:
        return {"pixels": sample_pixels(config.vision.image_size, seed).astype(dtype)}

    def run_vision_encoder(self, config: PoseConfig, weights: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        encoder = load_module(lambda: VisionEncoder(config.vision), "vision.", weights)
        return {"features": encoder(inputs["pixels"])}

    def run_connector(self, config: PoseConfig, weights: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        connector = load_module(lambda: Connector(config.connector), "connector.", weights)
        return {"image_embeddings": connector(inputs["features"])}


DINOV2_LLAMA = _Dinov2Llama()
"""Of LocLLM and PoseLLM."""
