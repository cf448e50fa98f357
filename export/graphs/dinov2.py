# SPDX-License-Identifier: Apache-2.0
"""Emits `vision_encoder`: DINOv2 from normalised pixels to normed patch features.

Cropping and normalising images, and interpolating the position table, do not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.graphs.connector import emit_gelu
from edgepose.export.models.dinov2 import VisionConfig

__all__ = ["write_vision_encoder"]


def write_vision_encoder(
    path: Path,
    config: VisionConfig,
    weights: Mapping[str, Tensor],
    precision: PrecisionSpec,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the encoder graph: `pixels` (B, 3, size, size) to `features` (B, patches, hidden).

    The class token is dropped before the final norm, which works token by token.

    Args:
        path: `.onnx` file to write; weights go to `PATH.data`.
        config: Sizes.
        weights: Canonical name to tensor; read one at a time.
        precision: Its activation type is that of input, output and weights; norms and softmax compute in
            float32.
        progress: Called with layers done and layers in all.

    Source: DINOv2 (arXiv 2304.07193), `edgepose.export.models.dinov2`.
    """
    size, hidden = config.image_size, config.hidden
    with GraphBuilder(path, precision, weights) as graph:
        emitter = _Dinov2Emitter(graph, config)
        pixels = graph.input("pixels", graph.dtype, ("B", 3, size, size))
        x = emitter.embed(pixels)
        for layer in range(config.layers):
            with graph.scope(f"blocks.{layer}"):
                x = emitter.block(f"vision.blocks.{layer}", x)
            if progress is not None:
                progress(layer + 1, config.layers)
        x = graph.op(
            "Slice", x, graph.ints(1), graph.ints(1 + config.patches), graph.ints(1), name="drop_class"
        )
        x = emitter.norm("vision.norm", x, "norm")
        graph.output("features", x, graph.dtype, ("B", config.patches, hidden))


class _Dinov2Emitter:
    """Emits one encoder into one graph."""

    def __init__(self, graph: GraphBuilder, config: VisionConfig) -> None:
        self.graph = graph
        self.config = config

    def embed(self, pixels: str) -> str:
        """Patches (row-major) after the class token, plus positions: (B, 1 + patches, hidden)."""
        graph, hidden, patch = self.graph, self.config.hidden, self.config.patch_size
        with graph.scope("embed"):
            kernel = graph.weight("vision.patch_embed.weight")
            bias = graph.weight("vision.patch_embed.bias")
            grid = graph.op("Conv", pixels, kernel, bias, kernel_shape=[patch, patch], strides=[patch, patch])
            rows = graph.op("Reshape", grid, graph.ints(0, hidden, -1))
            patches = graph.op("Transpose", rows, perm=[0, 2, 1])
            batch = graph.dimension(pixels, 0, name="B")
            shape = graph.op("Concat", batch, graph.ints(1, hidden), axis=0, name="class_shape")
            token = graph.op("Expand", graph.weight("vision.cls_token"), shape)
            tokens = graph.op("Concat", token, patches, axis=1, name="tokens")
            return graph.op("Add", tokens, graph.weight("vision.pos_embed"))

    def block(self, prefix: str, x: str) -> str:
        """One pre-norm transformer block, (B, tokens, hidden) to the same."""
        graph = self.graph
        mixed = self._attention(f"{prefix}.attn", self.norm(f"{prefix}.norm1", x, "norm1"))
        x = graph.op("Add", x, self._scale(f"{prefix}.ls1", mixed), name="attention_residual")
        normed = self.norm(f"{prefix}.norm2", x, "norm2")
        with graph.scope("mlp"):
            inner = emit_gelu(graph, graph.linear(normed, f"{prefix}.mlp.fc1", bias=True))
            mixed = graph.linear(inner, f"{prefix}.mlp.fc2", bias=True)
        return graph.op("Add", x, self._scale(f"{prefix}.ls2", mixed), name="mlp_residual")

    def norm(self, prefix: str, x: str, name: str) -> str:
        with self.graph.scope(name):
            return self.graph.layer_norm(x, prefix, self.config.layer_norm_eps)

    def _attention(self, prefix: str, normed: str) -> str:
        graph, config = self.graph, self.config
        tokens, heads, width = 1 + config.patches, config.heads, config.head_dim
        with graph.scope("attn"):
            fused = graph.linear(normed, f"{prefix}.qkv", bias=True)
            split = graph.op("Reshape", fused, graph.ints(0, 0, 3, heads, width))
            by_head = graph.op("Transpose", split, perm=[2, 0, 3, 1, 4])  # (3, B, heads, tokens, width)
            query, key, value = (
                graph.op("Reshape", part, graph.ints(-1, heads, tokens, width))
                for part in graph.ops("Split", by_head, outputs=3, axis=0, num_outputs=3)
            )
            scaled = graph.op("Mul", query, graph.scalar(1.0 / math.sqrt(width)), name="scaled_query")
            scores = graph.op("MatMul", scaled, graph.op("Transpose", key, perm=[0, 1, 3, 2]), name="scores")
            shares = graph.op("Softmax", graph.cast(scores, np.dtype(np.float32)), axis=-1)
            mixed = graph.op("MatMul", graph.cast(shares, graph.dtype), value, name="mix")
            by_token = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
            joined = graph.op("Reshape", by_token, graph.ints(0, 0, config.hidden))
            return graph.linear(joined, f"{prefix}.proj", bias=True)

    def _scale(self, prefix: str, x: str) -> str:
        name = prefix.rpartition(".")[2]
        with self.graph.scope(name):
            return self.graph.op("Mul", x, self.graph.weight(f"{prefix}.gamma"))
