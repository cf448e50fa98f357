# SPDX-License-Identifier: Apache-2.0
"""Emits `llm_decoder`: a decoder of the Llama line that takes its caches as inputs and returns new keys and
values only.

Rotary angles, masks and cache bookkeeping belong to the runtime.

Note [Three segments]: a query attends to three segments of keys: the prefix that all N questions share, the
question's own suffix so far, and the T new tokens. Nothing is concatenated but the scores. The prefix has a
batch of one: the N questions are folded into the rows of its two matrix products, so it is read once however
many questions there are. Queries of one kv head stand in rows g-major, then token (g = heads / kv_heads), so
that grouped-query attention needs no repeated keys. P and S may be 0 in ONNX Runtime: every shape is computed
from shapes, and a Reshape never has to infer a dimension of an empty tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.builder import GraphBuilder
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
        _LlamaEmitter(graph, config, steps or {}).emit(progress)
    return graph.full_precision


def layer_result(config: DecoderConfig, layer: int) -> str:
    """Value in the graph that leaves a layer, (N, T, hidden), and enters the next; or `hidden`."""
    if layer == config.layers - 1:
        return "hidden"
    return f"layers.{layer}.{'deepstack_added' if layer < config.deepstack else 'mlp_residual'}"


@dataclass(frozen=True, slots=True)
class _Rows:
    """What attention needs of the rows whose queries are computed: all T tokens, or the J at
    `logit_positions`.
    """

    cos: str
    """(1, N, rows, head_dim), or (1, N, 1, rows, head_dim) for grouped queries; float32, with the softmax
    scale.
    """
    sin: str
    """Like `cos`, first half negated."""
    bias: str
    """(1, N, rows, K), or (1, N, 1, rows, K) for grouped queries; float32."""
    folded: str
    """Shape [0, 1, N*g*rows, 0]."""
    unfolded: str
    """Shape [0, N, g*rows, 0]."""
    grouped: str
    """Shape [0, 0, g, rows, -1]."""
    ungrouped: str
    """Shape [0, 0, g*rows, -1]."""


class _LlamaEmitter:
    """Emits one decoder into one graph."""

    def __init__(self, graph: GraphBuilder, config: DecoderConfig, steps: Mapping[str, float]) -> None:
        self.graph = graph
        self.config = config
        self.steps = steps
        self.group = config.heads // config.kv_heads
        self.int4 = graph.precision.weights == "int4"
        self.int8 = graph.precision.weights == "int8"

    def emit(self, progress: Callable[[int, int], None] | None) -> None:
        graph, config = self.graph, self.config
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
                every_row = self._rows(count, tokens, cos, signed, bias)
            indices = graph.op("Unsqueeze", asked, graph.ints(-1), name="indices")
            asked_count = graph.dimension(asked, 1, name="J")
            with graph.scope("asked_rows"):
                asked_rows = self._rows(
                    count,
                    asked_count,
                    graph.op("GatherND", cos, indices, name="gather_cos", batch_dims=1),
                    graph.op("GatherND", signed, indices, name="gather_sin", batch_dims=1),
                    graph.op("GatherND", bias, indices, name="gather_bias", batch_dims=1),
                )

        presents = []
        for layer in range(config.layers):
            with graph.scope(f"layers.{layer}"):
                normed = self._rms_norm(
                    hidden, f"decoder.layers.{layer}.input_layernorm.weight", "input_layernorm"
                )
                with graph.scope("self_attn"):
                    key, value = self._keys_and_values(layer, normed, key_cos, key_sin)
                    rows = every_row
                    if layer == last:
                        rows = asked_rows
                        hidden = graph.op("GatherND", hidden, indices, name="gather_hidden", batch_dims=1)
                        normed = graph.op("GatherND", normed, indices, name="gather_normed", batch_dims=1)
                    query = self._queries(layer, normed, rows)
                    mixed = self._attend(query, (*caches[layer], key, value), segments, rows)
                    mixed = self._linear(layer, mixed, "self_attn.o_proj")
                hidden = graph.op("Add", hidden, mixed, name="attention_residual")
                hidden = self._mlp(layer, hidden)
                if layer < len(deepstack):
                    hidden = graph.op("Add", hidden, deepstack[layer], name="deepstack_added")
            presents.append((key, value))
            if progress is not None:
                progress(layer + 1, config.layers)
        hidden = self._rms_norm(hidden, "decoder.norm.weight", "norm")

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

    def _rows(self, count: str, rows: str, cos: str, sin: str, bias: str) -> _Rows:
        """`count` [N], `rows` [T] or [J]; `cos`, `sin` (N, rows, head_dim); `bias` (N, rows, K)."""
        graph = self.graph
        # The softmax scale rides on the rotation of the queries: two products a graph instead of one a layer.
        scale = graph.scalar(1.0 / math.sqrt(self.config.head_dim), _FLOAT32)
        group_rows = (
            rows if self.group == 1 else graph.op("Mul", rows, graph.ints(self.group), name="group_rows")
        )
        every = graph.op("Mul", count, group_rows, name="count_group_rows")
        keep = graph.ints(0)
        heads = graph.ints(0) if self.group == 1 else graph.ints(0, 2)
        return _Rows(
            cos=graph.op("Mul", graph.op("Unsqueeze", cos, heads), scale, name="cos"),
            sin=graph.op("Mul", graph.op("Unsqueeze", sin, heads), scale, name="sin"),
            bias=graph.op("Unsqueeze", bias, heads, name="bias"),
            folded=graph.op("Concat", keep, graph.ints(1), every, keep, axis=0, name="folded"),
            unfolded=graph.op("Concat", keep, count, group_rows, keep, axis=0, name="unfolded"),
            grouped=graph.op(
                "Concat", graph.ints(0, 0, self.group), rows, graph.ints(-1), axis=0, name="grouped"
            ),
            ungrouped=graph.op(
                "Concat", graph.ints(0, 0), group_rows, graph.ints(-1), axis=0, name="ungrouped"
            ),
        )

    def _linear(self, layer: int, x: str, name: str) -> str:
        full = f"decoder.layers.{layer}.{name}"
        if self.int8 and full not in self.steps:
            self.graph.full_precision.append(f"{full}.weight")
        return self.graph.linear(x, full, int4=self.int4, int8=self.steps.get(full))

    def _head_norm(self, layer: int, x: str, name: str) -> str:
        """The norm of each head of queries or keys (..., head_dim), where the model has one."""
        if not self.config.qk_norm:
            return x
        return self._rms_norm(x, f"decoder.layers.{layer}.self_attn.{name}.weight", name)

    def _rms_norm(self, x: str, weight: str, name: str) -> str:
        """The pattern that ONNX Runtime fuses to SimplifiedLayerNormalization; float32 inside."""
        graph = self.graph
        with graph.scope(name):
            wide = self._widen(x)
            square = graph.op("Pow", wide, graph.scalar(2.0, _FLOAT32))
            mean = graph.op("ReduceMean", square, graph.ints(-1), keepdims=1)
            root = graph.op("Sqrt", graph.op("Add", mean, graph.scalar(self.config.rms_norm_eps, _FLOAT32)))
            normed = self._narrow(graph.op("Div", wide, root))
            return graph.op("Mul", normed, graph.weight(weight))

    def _rotate(self, x: str, cos: str, sin: str) -> str:
        """Rotary positions, computed in float32; `cos` and `sin` broadcast to `x` (..., rows, head_dim)."""
        graph = self.graph
        wide = self._widen(x)
        left, right = graph.ops("Split", wide, outputs=2, axis=-1, num_outputs=2)
        swapped = graph.op("Concat", right, left, axis=-1)
        turned = graph.op("Add", graph.op("Mul", wide, cos), graph.op("Mul", swapped, sin))
        return self._narrow(turned)

    def _keys_and_values(self, layer: int, normed: str, cos: str, sin: str) -> tuple[str, str]:
        """New keys and values, each (kv_heads, N, T, head_dim)."""
        graph = self.graph
        split = graph.ints(0, 0, self.config.kv_heads, self.config.head_dim)
        with graph.scope("key"):
            projected = self._linear(layer, normed, "self_attn.k_proj")
            normed_heads = self._head_norm(layer, graph.op("Reshape", projected, split), "k_norm")
            by_head = graph.op("Transpose", normed_heads, perm=[2, 0, 1, 3])
            key = self._rotate(by_head, cos, sin)
        with graph.scope("value"):
            projected = self._linear(layer, normed, "self_attn.v_proj")
            value = graph.op("Transpose", graph.op("Reshape", projected, split), perm=[2, 0, 1, 3])
        return key, value

    def _queries(self, layer: int, normed: str, rows: _Rows) -> str:
        """Scaled, rotated queries (kv_heads, N, g*rows, head_dim)."""
        graph, config = self.graph, self.config
        with graph.scope("query"):
            projected = self._linear(layer, normed, "self_attn.q_proj")
            if self.group == 1:
                split = graph.op("Reshape", projected, graph.ints(0, 0, config.heads, config.head_dim))
                by_head = graph.op("Transpose", self._head_norm(layer, split, "q_norm"), perm=[2, 0, 1, 3])
                return self._rotate(by_head, rows.cos, rows.sin)
            shape = graph.ints(0, 0, config.kv_heads, self.group, config.head_dim)
            normed_heads = self._head_norm(layer, graph.op("Reshape", projected, shape), "q_norm")
            by_head = graph.op("Transpose", normed_heads, perm=[2, 0, 3, 1, 4])
            rotated = self._rotate(by_head, rows.cos, rows.sin)  # (kv_heads, N, g, rows, head_dim)
            return graph.op("Reshape", rotated, graph.ints(0, 0, -1, config.head_dim))

    def _attend(
        self, query: str, cache: tuple[str, str, str, str, str, str], segments: str, rows: _Rows
    ) -> str:
        """Attention, see Note [Three segments]; returns (N, rows, heads * head_dim)."""
        graph, config = self.graph, self.config
        prefix_key, prefix_value, suffix_key, suffix_value, key, value = cache
        # The Reshape changes nothing: it keeps ONNX Runtime from merging this transposition with that of the
        # heads, and so lets it fuse all three into their matrix products.
        new_key = graph.op("Reshape", key, graph.ints(0, 0, -1, config.head_dim), name="new_key")
        folded_query = graph.op("Reshape", query, rows.folded, name="folded_query")
        prefix_scores = graph.op("Reshape", self._scores(folded_query, prefix_key, "prefix"), rows.unfolded)
        scores = graph.op(
            "Concat",
            prefix_scores,
            self._scores(query, suffix_key, "suffix"),
            self._scores(query, new_key, "new"),
            axis=-1,
            name="scores",
        )
        scores = self._widen(scores)
        if self.group > 1:
            scores = graph.op("Reshape", scores, rows.grouped)
        shares = graph.op("Softmax", graph.op("Add", scores, rows.bias, name="biased"), axis=-1)
        if self.group > 1:
            shares = graph.op("Reshape", shares, rows.ungrouped)
        shares = self._narrow(shares)
        prefix_shares, suffix_shares, new_shares = graph.ops("Split", shares, segments, outputs=3, axis=-1)
        folded_shares = graph.op("Reshape", prefix_shares, rows.folded, name="folded_shares")
        from_prefix = graph.op(
            "Reshape", graph.op("MatMul", folded_shares, prefix_value, name="prefix_mix"), rows.unfolded
        )
        from_suffix = graph.op("MatMul", suffix_shares, suffix_value, name="suffix_mix")
        from_new = graph.op("MatMul", new_shares, value, name="new_mix")
        mixed = graph.op("Add", graph.op("Add", from_prefix, from_suffix), from_new, name="mixed")
        if self.group == 1:
            by_token = graph.op("Transpose", mixed, perm=[1, 2, 0, 3])
        else:
            split = graph.op("Reshape", mixed, graph.ints(0, 0, self.group, -1, config.head_dim))
            by_token = graph.op("Transpose", split, perm=[1, 3, 0, 2, 4])
        return graph.op("Reshape", by_token, graph.ints(0, 0, config.heads * config.head_dim))

    def _scores(self, query: str, key: str, name: str) -> str:
        turned = self.graph.op("Transpose", key, name=f"{name}_key_turned", perm=[0, 1, 3, 2])
        return self.graph.op("MatMul", query, turned, name=f"{name}_scores")

    def _mlp(self, layer: int, hidden: str) -> str:
        graph = self.graph
        name = "post_attention_layernorm"
        normed = self._rms_norm(hidden, f"decoder.layers.{layer}.{name}.weight", name)
        with graph.scope("mlp"):
            gate = self._linear(layer, normed, "mlp.gate_proj")
            up = self._linear(layer, normed, "mlp.up_proj")
            opened = graph.op("Mul", gate, graph.op("Sigmoid", gate), name="silu")
            down = self._linear(layer, graph.op("Mul", opened, up, name="gated"), "mlp.down_proj")
        return graph.op("Add", hidden, down, name="mlp_residual")

    def _widen(self, x: str) -> str:
        return self.graph.cast(x, _FLOAT32)

    def _narrow(self, x: str) -> str:
        return self.graph.cast(x, self.graph.dtype)
