# SPDX-License-Identifier: Apache-2.0
"""Emits `vision_encoder` of Qwen3-VL: patches of one frame to features and taps.

Cutting frames into patches and computing their positions belong to the runtime.

Note [Heads in groups]: the scores of one head over P patches take P*P floats, 240 MB at the largest published
frame, and its shares after the softmax as much. So heads are processed in groups, one after the other, whose
scores and shares stay below a gigabyte; a runtime that frees values when their last reader is done never
holds two groups. What that costs (splitting queries, keys and values, joining the results) is linear in P;
with two layers of the published width on a CPU, groups of 1, 2, 4 and 16 heads took the same time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.models.qwen3_vl import LAYER_NORM_EPS, GridVisionConfig

__all__ = ["write_grid_vision_encoder"]

_FLOAT32 = np.dtype(np.float32)
_INT64 = np.dtype(np.int64)

_MOST_PATCHES = 7840
"""Of the largest frame that the published preprocessing makes, 2560 * 28 * 28 pixels in patches of 16."""

_SCORE_BYTES = 1 << 29
"""What the float32 scores of one group of heads may take at `_MOST_PATCHES`; the shares take as much."""


def write_grid_vision_encoder(
    path: Path,
    config: GridVisionConfig,
    weights: Mapping[str, Tensor],
    precision: PrecisionSpec,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the encoder graph.

    Inputs (act = activation type of `precision`; P patches, those of a merged square one after the other):
        patches (P, 3*patch_size*patch_size) act, order C, y, x;
        position_indices (4, P) int64, rows of the position table; position_weights (4, P) float32;
        cos, sin (P, head_dim) float32, half-split layout.
    Outputs:
        features (P, hidden) act, of the last layer, without a norm; tap.{k} (P, hidden) act.

    Args:
        path: `.onnx` file to write; weights go to `PATH.data`.
        config: Sizes.
        weights: Canonical name to tensor; read one at a time.
        precision: Its activation type is that of patches, outputs and weights; norms, positions, rotation and
            softmax compute in float32.
        progress: Called with layers done and layers in all.

    Source: Qwen3-VL (arXiv 2511.21631), `edgepose.export.models.qwen3_vl`.
    """
    with GraphBuilder(path, precision, weights) as graph:
        _GridVisionEmitter(graph, config).emit(progress)


class _GridVisionEmitter:
    """Emits one encoder into one graph."""

    def __init__(self, graph: GraphBuilder, config: GridVisionConfig) -> None:
        self.graph = graph
        self.config = config
        most = max(1, _SCORE_BYTES // (4 * _MOST_PATCHES**2))
        self.group = max(size for size in range(1, most + 1) if config.heads % size == 0)
        """Heads that are processed together."""

    def emit(self, progress: Callable[[int, int], None] | None) -> None:
        graph, config = self.graph, self.config
        patches = graph.input("patches", graph.dtype, ("P", config.patch_values))
        indices = graph.input("position_indices", _INT64, (4, "P"))
        shares = graph.input("position_weights", _FLOAT32, (4, "P"))
        cos = graph.input("cos", _FLOAT32, ("P", config.head_dim))
        sin = graph.input("sin", _FLOAT32, ("P", config.head_dim))
        with graph.scope("embed"):
            x = self._embed(patches, indices, shares)
        with graph.scope("positions"):
            angles = self._angles(cos, sin)
        taps = []
        for layer in range(config.layers):
            with graph.scope(f"blocks.{layer}"):
                x = self._block(f"vision.blocks.{layer}", x, angles)
            if layer in config.taps:
                taps.append(x)
            if progress is not None:
                progress(layer + 1, config.layers)
        graph.output("features", x, graph.dtype, ("P", config.hidden))
        for index, tap in enumerate(taps):
            graph.output(f"tap.{index}", tap, graph.dtype, ("P", config.hidden))

    def _embed(self, patches: str, indices: str, shares: str) -> str:
        """Patches as features, plus rows of the position table in their shares: (P, hidden)."""
        graph = self.graph
        x = graph.linear(patches, "vision.patch_embed", bias=True)
        rows = graph.op("Gather", graph.weight("vision.pos_embed.weight"), indices, axis=0)  # (4, P, hidden)
        weighted = graph.op(
            "Mul", graph.cast(rows, _FLOAT32), graph.op("Unsqueeze", shares, graph.ints(-1)), name="weighted"
        )
        position = graph.op("ReduceSum", weighted, graph.ints(0), keepdims=0)
        return graph.op("Add", x, graph.cast(position, graph.dtype), name="embedded")

    def _angles(self, cos: str, sin: str) -> tuple[str, str]:
        """Factors of the rotation for queries and keys at once, each (2, 1, P, head_dim) float32.

        rotate(x) = x * cos + [right half, left half] * [-sin, +sin]; the softmax scale rides on the queries'.
        """
        graph = self.graph
        left, right = graph.ops("Split", sin, outputs=2, axis=-1, num_outputs=2)
        signed = graph.op("Concat", graph.op("Neg", left), right, axis=-1, name="signed_sin")
        scale = math.sqrt(1.0 / self.config.head_dim)
        scales = graph.constant(np.array([scale, 1.0], dtype=np.float32).reshape(2, 1, 1, 1))
        return (
            graph.op("Mul", scales, cos, name="cos"),
            graph.op("Mul", scales, signed, name="sin"),
        )

    def _block(self, prefix: str, x: str, angles: tuple[str, str]) -> str:
        """One pre-norm transformer block, (P, hidden) to the same."""
        graph = self.graph
        mixed = self._attention(f"{prefix}.attn", self._norm(f"{prefix}.norm1", x), angles)
        x = graph.op("Add", x, mixed, name="attention_residual")
        normed = self._norm(f"{prefix}.norm2", x)
        with graph.scope("mlp"):
            inner = self._gelu(graph.linear(normed, f"{prefix}.mlp.fc1", bias=True))
            mixed = graph.linear(inner, f"{prefix}.mlp.fc2", bias=True)
        return graph.op("Add", x, mixed, name="mlp_residual")

    def _norm(self, prefix: str, x: str) -> str:
        with self.graph.scope(prefix.rpartition(".")[2]):
            return self.graph.layer_norm(x, prefix, LAYER_NORM_EPS)

    def _gelu(self, x: str) -> str:
        """The tanh approximation in a pattern that ONNX Runtime fuses.

        `x * 0.5 * (1 + tanh(sqrt(2 / pi) * x * (1 + 0.044715 * x * x)))`
        """
        graph = self.graph
        with graph.scope("gelu"):
            cubic = graph.op("Mul", graph.op("Mul", x, graph.scalar(0.044715)), x)
            inner = graph.op(
                "Mul",
                graph.op("Mul", x, graph.scalar(math.sqrt(2.0 / math.pi))),
                graph.op("Add", cubic, graph.scalar(1.0)),
            )
            opened = graph.op("Add", graph.op("Tanh", inner), graph.scalar(1.0))
            return graph.op("Mul", graph.op("Mul", x, graph.scalar(0.5)), opened)

    def _attention(self, prefix: str, normed: str, angles: tuple[str, str]) -> str:
        """Full attention over the P patches, see Note [Heads in groups]."""
        graph, config = self.graph, self.config
        heads, width = config.heads, config.head_dim
        with graph.scope("attn"):
            fused = graph.linear(normed, f"{prefix}.qkv", bias=True)
            split = graph.op("Reshape", fused, graph.ints(0, 3, heads, width))
            by_head = graph.op("Transpose", split, perm=[1, 2, 0, 3])  # (3, heads, P, width)
            turned, values = graph.ops("Split", by_head, graph.ints(2, 1), outputs=2, axis=0)
            rotated = self._rotate(turned, *angles)
            query, key = graph.ops("Split", rotated, outputs=2, axis=0, num_outputs=2)
            groups = [self._split_heads(part) for part in (query, key, values)]
            mixed = []
            for index, (q, k, v) in enumerate(zip(*groups, strict=True)):
                with graph.scope(f"group.{index}"):
                    scores = graph.op("MatMul", q, graph.op("Transpose", k, perm=[0, 1, 3, 2]), name="scores")
                    shares = graph.op("Softmax", graph.cast(scores, _FLOAT32), axis=-1)
                    mixed.append(graph.op("MatMul", graph.cast(shares, graph.dtype), v, name="mix"))
            joined = mixed[0] if len(mixed) == 1 else graph.op("Concat", *mixed, axis=1)
            by_patch = graph.op("Transpose", joined, perm=[0, 2, 1, 3])  # (1, P, heads, width)
            rows = graph.op("Reshape", by_patch, graph.ints(-1, config.hidden))
            return graph.linear(rows, f"{prefix}.proj", bias=True)

    def _rotate(self, x: str, cos: str, sin: str) -> str:
        """Rotary positions of queries and keys (2, heads, P, head_dim), computed in float32."""
        graph = self.graph
        wide = graph.cast(x, _FLOAT32)
        left, right = graph.ops("Split", wide, outputs=2, axis=-1, num_outputs=2)
        swapped = graph.op("Concat", right, left, axis=-1)
        turned = graph.op("Add", graph.op("Mul", wide, cos), graph.op("Mul", swapped, sin))
        return graph.cast(turned, graph.dtype)

    def _split_heads(self, x: str) -> list[str]:
        """(1, heads, P, head_dim) to groups of heads."""
        count = self.config.heads // self.group
        return [x] if count == 1 else self.graph.ops("Split", x, outputs=count, axis=1, num_outputs=count)
