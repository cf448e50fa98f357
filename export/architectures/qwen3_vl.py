# SPDX-License-Identifier: Apache-2.0
"""Qwen3-VL: frames of any size, taps that reach the decoder's first layers, positions on three axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepose.bundle import PatchGridSpec, PrecisionSpec, VisionSpec
from edgepose.export.architectures.description import Architecture, Tensors
from edgepose.export.checkpoint import Checkpoint
from edgepose.export.goldens import sample_pixels
from edgepose.export.graphs.mergers import write_mergers
from edgepose.export.graphs.qwen3_vl_vision import write_grid_vision_encoder
from edgepose.export.models.config import ModelConfig
from edgepose.export.models.llama import rotary_table
from edgepose.export.models.loading import load_module
from edgepose.export.models.qwen3_vl import GridVisionConfig, GridVisionEncoder, Mergers, MergersConfig
from edgepose.export.weights.plan import Plan
from edgepose.export.weights.qwen3_vl import plan_qwen3_vl

__all__ = ["QWEN3_VL"]

_Config = ModelConfig[GridVisionConfig, MergersConfig]

_SAMPLE_SQUARES = (2, 3)
"""Merged squares of the sample frame, rows and columns; few, so that large models stay quick."""


class _Qwen3Vl(Architecture[GridVisionConfig, MergersConfig]):
    def plan(self, checkpoint: Checkpoint) -> Plan[GridVisionConfig, MergersConfig]:
        return plan_qwen3_vl(checkpoint)

    def vision_spec(self, config: _Config) -> VisionSpec:
        vision = config.vision
        grid = PatchGridSpec(vision.head_dim, vision.rope_theta, vision.table_side, len(vision.taps))
        return VisionSpec(hidden=vision.hidden, grid=grid)

    def write_vision_encoder(
        self,
        path: Path,
        config: _Config,
        weights: Tensors,
        precision: PrecisionSpec,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        write_grid_vision_encoder(path, config.vision, weights, precision, progress=progress)

    def write_connector(
        self, path: Path, config: _Config, weights: Tensors, precision: PrecisionSpec
    ) -> None:
        write_mergers(path, config.connector, weights, precision)

    def sample_vision_inputs(
        self, config: _Config, dtype: np.dtype[Any], seed: int
    ) -> dict[str, NDArray[np.generic]]:
        """A smooth frame whose patches are at whole rows and columns, with positions between table rows.

        Where a real frame's patches lie in the position table is the host's affair; the graph takes any
        positions, and gets random ones here.
        """
        vision = config.vision
        rows, columns = (count * vision.merge for count in _SAMPLE_SQUARES)
        size = vision.patch_size
        frame = sample_pixels(max(rows, columns) * size, seed)[0, :, : rows * size, : columns * size]
        squares = frame.reshape(
            3, rows // vision.merge, vision.merge, size, columns // vision.merge, vision.merge, size
        )
        patches = squares.transpose(1, 4, 2, 5, 0, 3, 6).reshape(rows * columns, vision.patch_values)
        random = np.random.default_rng(seed)
        shares = random.random((4, rows * columns), dtype=np.float32)
        places = torch.from_numpy(random.integers(0, max(rows, columns), (2, rows * columns)))
        cos, sin = rotary_table(places, vision.head_dim // 2, vision.rope_theta)
        return {
            "patches": patches.astype(dtype),
            "position_indices": random.integers(0, vision.table_side**2, (4, rows * columns)),
            "position_weights": shares / shares.sum(axis=0),
            "cos": _by_axis(cos),
            "sin": _by_axis(sin),
        }

    def run_vision_encoder(self, config: _Config, weights: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        encoder = load_module(lambda: GridVisionEncoder(config.vision), "vision.", weights)
        features, taps = encoder(
            inputs["patches"],
            inputs["position_indices"],
            inputs["position_weights"],
            inputs["cos"],
            inputs["sin"],
        )
        return {"features": features, **{f"tap.{index}": tap for index, tap in enumerate(taps)}}

    def run_connector(self, config: _Config, weights: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        mergers = load_module(lambda: Mergers(config.connector), "connector.", weights)
        taps = [inputs[f"tap.{index}"] for index in range(config.connector.deepstack)]
        image, deepstack = mergers(inputs["features"], taps)
        return {
            "image_embeddings": image,
            **{f"deepstack.{index}": rows for index, rows in enumerate(deepstack)},
        }


def _by_axis(table: Tensor) -> NDArray[np.float32]:
    """Angles of rows and columns, (2, P, head_dim / 2) with equal halves, as (P, head_dim) half-split."""
    rows, columns = table.chunk(2, dim=-1)[0]
    half = torch.cat((rows, columns), dim=-1)
    found: NDArray[np.float32] = torch.cat((half, half), dim=-1).numpy()
    return found


QWEN3_VL = _Qwen3Vl()
"""Of TAIHRI."""
