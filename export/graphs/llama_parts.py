# SPDX-License-Identifier: Apache-2.0
"""What all blocks of a Llama decoder's graph are emitted from: linear layers, norms, changes of type.

Attention, MLP and their order do not belong here: see `llama_attention` and `llama`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.models.llama import DecoderConfig

__all__ = ["LlamaParts"]

_FLOAT32 = np.dtype(np.float32)


class LlamaParts:
    """Emits single operations of one decoder into one graph; `steps` are those of `write_llm_decoder`."""

    def __init__(self, graph: GraphBuilder, config: DecoderConfig, steps: Mapping[str, float]) -> None:
        self.graph = graph
        self.config = config
        self.steps = steps
        self.int4 = graph.precision.weights == "int4"
        self.int8 = graph.precision.weights == "int8"

    def linear(self, layer: int, x: str, name: str) -> str:
        """One linear layer of the decoder's layer `layer`: `name` as in `self_attn.q_proj`."""
        full = f"decoder.layers.{layer}.{name}"
        if self.int8 and full not in self.steps:
            self.graph.full_precision.append(f"{full}.weight")
        return self.graph.linear(x, full, int4=self.int4, int8=self.steps.get(full))

    def rms_norm(self, x: str, weight: str, name: str) -> str:
        """The pattern that ONNX Runtime fuses to SimplifiedLayerNormalization; float32 inside."""
        graph = self.graph
        with graph.scope(name):
            wide = self.widen(x)
            square = graph.op("Pow", wide, graph.scalar(2.0, _FLOAT32))
            mean = graph.op("ReduceMean", square, graph.ints(-1), keepdims=1)
            root = graph.op("Sqrt", graph.op("Add", mean, graph.scalar(self.config.rms_norm_eps, _FLOAT32)))
            normed = self.narrow(graph.op("Div", wide, root))
            return graph.op("Mul", normed, graph.weight(weight))

    def widen(self, x: str) -> str:
        """From the activation type to float32."""
        return self.graph.cast(x, _FLOAT32)

    def narrow(self, x: str) -> str:
        """From float32 to the activation type."""
        return self.graph.cast(x, self.graph.dtype)
