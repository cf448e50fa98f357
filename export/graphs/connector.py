# SPDX-License-Identifier: Apache-2.0
"""Emits `connector`: linear layers with the exact GELU between them; and that GELU, for other graphs.

How many layers a checkpoint has is decided by its weights, not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.models.connector import ConnectorConfig

__all__ = ["emit_gelu", "write_connector"]


def write_connector(
    path: Path,
    config: ConnectorConfig,
    weights: Mapping[str, Tensor],
    precision: PrecisionSpec,
    *,
    patches: int,
) -> None:
    """Writes the connector graph: `features` (B, patches, dims[0]) to `image_embeddings` (B, patches,
    dims[-1]).

    Args:
        path: `.onnx` file to write; weights go to `PATH.data`.
        config: Widths.
        weights: Canonical name to tensor; read one at a time.
        precision: Its activation type is that of inputs, outputs and weights.
        patches: Patches of one image.

    Source: `edgepose.export.models.connector`.
    """
    with GraphBuilder(path, precision, weights) as graph:
        x = graph.input("features", graph.dtype, ("B", patches, config.dims[0]))
        for layer in range(config.layers):
            if layer > 0:
                x = emit_gelu(graph, x)
            with graph.scope("connector"):
                x = graph.linear(x, f"connector.{layer}", bias=True)
        graph.output("image_embeddings", x, graph.dtype, ("B", patches, config.dims[-1]))


def emit_gelu(graph: GraphBuilder, x: str) -> str:
    """The exact GELU in the pattern that ONNX Runtime fuses: `x * (1 + erf(x / sqrt(2))) * 0.5`."""
    with graph.scope("gelu"):
        erf = graph.op("Erf", graph.op("Div", x, graph.scalar(math.sqrt(2.0))))
        return graph.op("Mul", graph.op("Mul", x, graph.op("Add", erf, graph.scalar(1.0))), graph.scalar(0.5))
