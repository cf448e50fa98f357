# SPDX-License-Identifier: Apache-2.0
"""Emits `connector` of Qwen3-VL: one merger for the features, one for each tap.

Where the rows go in the decoder is decided by the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.graphs.connector import emit_gelu
from edgepose.export.models.qwen3_vl import LAYER_NORM_EPS, MergersConfig

__all__ = ["write_mergers"]


def write_mergers(
    path: Path, config: MergersConfig, weights: Mapping[str, Tensor], precision: PrecisionSpec
) -> None:
    """Writes the connector graph.

    Inputs: features, tap.{k} (P, features), P = R * merge * merge patches, squares one after the other.
    Outputs: image_embeddings, deepstack.{k} (R, out). All in the activation type of `precision`.

    Args:
        path: `.onnx` file to write; weights go to `PATH.data`.
        config: Widths.
        weights: Canonical name to tensor; read one at a time.
        precision: Its activation type is that of inputs, outputs and weights.

    Source: Qwen3-VL (arXiv 2511.21631), `edgepose.export.models.qwen3_vl`.
    """
    with GraphBuilder(path, precision, weights) as graph:
        features = graph.input("features", graph.dtype, ("P", config.features))
        taps = [
            graph.input(f"tap.{index}", graph.dtype, ("P", config.features))
            for index in range(config.deepstack)
        ]
        # The main merger's norm works patch by patch, that of the others on the square as a whole.
        with graph.scope("merger"):
            normed = graph.layer_norm(features, "connector.merger.norm", LAYER_NORM_EPS)
            rows = _project(graph, _join(graph, normed, config), "connector.merger")
        graph.output("image_embeddings", rows, graph.dtype, ("R", config.out))
        for index, tap in enumerate(taps):
            name = f"connector.deepstack.{index}"
            with graph.scope(f"deepstack.{index}"):
                normed = graph.layer_norm(_join(graph, tap, config), f"{name}.norm", LAYER_NORM_EPS)
                rows = _project(graph, normed, name)
            graph.output(f"deepstack.{index}", rows, graph.dtype, ("R", config.out))


def _join(graph: GraphBuilder, x: str, config: MergersConfig) -> str:
    """(P, features) to (R, merge * merge * features)."""
    return graph.op("Reshape", x, graph.ints(-1, config.square), name="squares")


def _project(graph: GraphBuilder, x: str, layer: str) -> str:
    inner = emit_gelu(graph, graph.linear(x, f"{layer}.fc1", bias=True))
    return graph.linear(inner, f"{layer}.fc2", bias=True)
