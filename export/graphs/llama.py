# SPDX-License-Identifier: Apache-2.0
"""Emits `llm_decoder`: a decoder of the Llama line that takes its caches as inputs and returns new keys and
values only.

Rotary angles, masks and cache bookkeeping belong to the runtime; how queries attend is emitted in
`llama_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.graphs.llama_attention import LlamaAttention
from edgepose.export.graphs.llama_parts import LlamaParts
from edgepose.export.models.llama import DecoderConfig

__all__ = ["layer_result", "write_llm_decoder"]

_FLOAT32 = np.dtype(np.float32)
_INT64 = np.dtype(np.int64)


def write_llm_decoder(
    path: Path,
    config: DecoderConfig,
    weights: Mapping[str, Tensor],
    precision: PrecisionSpec,
    *,
    steps: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Writes the decoder graph.

    The last layer computes keys and values of all T tokens, but queries, attention and MLP only at
    `logit_positions`: nobody looks at the other rows.

    Inputs (act = activation type of `precision`):
        embeddings (N, T, hidden) act; cos, sin (N, T, head_dim) float32, half-split layout;
        bias (N, T, P+S+T) float32, added to the scores: 0 or -30000; logit_positions (N, J) int64, below T;
        prefix_key.{i}, prefix_value.{i} (kv_heads, 1, P, head_dim) act;
        suffix_key.{i}, suffix_value.{i} (kv_heads, N, S, head_dim) act;
        deepstack.{k} (D, E, hidden) act, for k below `config.deepstack`, added to the hidden states
        (N, T, hidden) behind layer k: D is 1 or N, E is 1 or T.
    Outputs:
        hidden (N, J, hidden) act, after the final norm; key.{i}, value.{i} (kv_heads, N, T, head_dim) act.

    Args:
        path: `.onnx` file to write; weights go to `PATH.data`.
        config: Sizes of the decoder.
        weights: Canonical name to tensor; read one at a time.
        precision: Types of weights and activations.
        steps: For INT8 weights, the step at which the input of each linear layer is rounded, by its canonical
            name less `.weight`; layers without one stay whole.
        progress: Called with layers done and layers in all.

    Returns:
        Names of linear layers that were to be quantized and are not: because no INT4 block divides their
        width, or because there is no step for them.

    Source: Llama 2 (arXiv 2307.09288) and Qwen3-VL (arXiv 2511.21631), `edgepose.export.models.llama`.
    """
    with GraphBuilder(path, precision, weights) as graph:
        _LlamaEmitter(LlamaParts(graph, config, steps or {})).emit(progress)
    return graph.full_precision


def layer_result(config: DecoderConfig, layer: int) -> str:
    """Value in the graph that leaves a layer, (N, T, hidden), and enters the next; or `hidden`."""
    if layer == config.layers - 1:
        return "hidden"
    return f"layers.{layer}.{'deepstack_added' if layer < config.deepstack else 'mlp_residual'}"


class _LlamaEmitter:
    """Emits one decoder into one graph."""

    def __init__(self, parts: LlamaParts) -> None:
        self.parts = parts
        self.attention = LlamaAttention(parts)
        self.graph = parts.graph
        self.config = parts.config

    def emit(self, progress: Callable[[int, int], None] | None) -> None:
        graph, config, parts, attention = self.graph, self.config, self.parts, self.attention
        last = config.layers - 1
        hidden = graph.input("embeddings", graph.dtype, ("N", "T", config.hidden))
        cos = graph.input("cos", _FLOAT32, ("N", "T", config.head_dim))
        sin = graph.input("sin", _FLOAT32, ("N", "T", config.head_dim))
        bias = graph.input("bias", _FLOAT32, ("N", "T", "K"))
        asked = graph.input("logit_positions", _INT64, ("N", "J"))
        caches = [self._cache_inputs(layer) for layer in range(config.layers)]
        deepstack = [
            graph.input(f"deepstack.{index}", graph.dtype, ("D", "E", config.hidden))
            for index in range(config.deepstack)
        ]

        with graph.scope("positions"):
            count = graph.dimension(hidden, 0, name="N")
            tokens = graph.dimension(hidden, 1, name="T")
            prefix = graph.dimension(caches[0][0], 2, name="P")
            suffix = graph.dimension(caches[0][2], 2, name="S")
            segments = graph.op("Concat", prefix, suffix, tokens, name="segments", axis=0)
            # rotate(x) = x * cos + [right half, left half] * [-sin, +sin]
            left, right = graph.ops("Split", sin, outputs=2, axis=-1, num_outputs=2)
            signed = graph.op("Concat", graph.op("Neg", left), right, axis=-1, name="signed_sin")
            key_cos = graph.op("Unsqueeze", cos, graph.ints(0), name="key_cos")
            key_sin = graph.op("Unsqueeze", signed, graph.ints(0), name="key_sin")
            with graph.scope("every_row"):
                every_row = attention.rows(count, tokens, cos, signed, bias)
            indices = graph.op("Unsqueeze", asked, graph.ints(-1), name="indices")
            asked_count = graph.dimension(asked, 1, name="J")
            with graph.scope("asked_rows"):
                asked_rows = attention.rows(
                    count,
                    asked_count,
                    graph.op("GatherND", cos, indices, name="gather_cos", batch_dims=1),
                    graph.op("GatherND", signed, indices, name="gather_sin", batch_dims=1),
                    graph.op("GatherND", bias, indices, name="gather_bias", batch_dims=1),
                )

        presents = []
        for layer in range(config.layers):
            with graph.scope(f"layers.{layer}"):
                normed = parts.rms_norm(
                    hidden, f"decoder.layers.{layer}.input_layernorm.weight", "input_layernorm"
                )
                with graph.scope("self_attn"):
                    key, value = attention.keys_and_values(layer, normed, key_cos, key_sin)
                    rows = every_row
                    if layer == last:
                        rows = asked_rows
                        hidden = graph.op("GatherND", hidden, indices, name="gather_hidden", batch_dims=1)
                        normed = graph.op("GatherND", normed, indices, name="gather_normed", batch_dims=1)
                    query = attention.queries(layer, normed, rows)
                    mixed = attention.attend(query, (*caches[layer], key, value), segments, rows)
                    mixed = parts.linear(layer, mixed, "self_attn.o_proj")
                hidden = graph.op("Add", hidden, mixed, name="attention_residual")
                hidden = self._mlp(layer, hidden)
                if layer < len(deepstack):
                    hidden = graph.op("Add", hidden, deepstack[layer], name="deepstack_added")
            presents.append((key, value))
            if progress is not None:
                progress(layer + 1, config.layers)
        hidden = parts.rms_norm(hidden, "decoder.norm.weight", "norm")

        graph.output("hidden", hidden, graph.dtype, ("N", "J", config.hidden))
        for layer, (key, value) in enumerate(presents):
            shape = (config.kv_heads, "N", "T", config.head_dim)
            graph.output(f"key.{layer}", key, graph.dtype, shape)
            graph.output(f"value.{layer}", value, graph.dtype, shape)

    def _cache_inputs(self, layer: int) -> tuple[str, str, str, str]:
        """Prefix key, value (kv_heads, 1, P, head_dim) and suffix key, value (kv_heads, N, S, head_dim)."""
        graph, heads, width = self.graph, self.config.kv_heads, self.config.head_dim
        return (
            graph.input(f"prefix_key.{layer}", graph.dtype, (heads, 1, "P", width)),
            graph.input(f"prefix_value.{layer}", graph.dtype, (heads, 1, "P", width)),
            graph.input(f"suffix_key.{layer}", graph.dtype, (heads, "N", "S", width)),
            graph.input(f"suffix_value.{layer}", graph.dtype, (heads, "N", "S", width)),
        )

    def _mlp(self, layer: int, hidden: str) -> str:
        graph, parts = self.graph, self.parts
        name = "post_attention_layernorm"
        normed = parts.rms_norm(hidden, f"decoder.layers.{layer}.{name}.weight", name)
        with graph.scope("mlp"):
            gate = parts.linear(layer, normed, "mlp.gate_proj")
            up = parts.linear(layer, normed, "mlp.up_proj")
            opened = graph.op("Mul", gate, graph.op("Sigmoid", gate), name="silu")
            down = parts.linear(layer, graph.op("Mul", opened, up, name="gated"), "mlp.down_proj")
        return graph.op("Add", hidden, down, name="mlp_residual")
