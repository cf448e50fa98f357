# SPDX-License-Identifier: Apache-2.0
"""Emits the attention of a Llama decoder over caches and new tokens.

Which rows and layers attend is decided in `llama`; rotary angles and masks belong to the runtime.

Note [Three segments]: a query attends to three segments of keys: the prefix that all N questions share, the
question's own suffix so far, and the T new tokens. Nothing is concatenated but the scores. The prefix has a
batch of one: the N questions are folded into the rows of its two matrix products, so it is read once however
many questions there are. Queries of one kv head stand in rows g-major, then token (g = heads / kv_heads), so
that grouped-query attention needs no repeated keys. P and S may be 0 in ONNX Runtime: every shape is computed
from shapes, and a Reshape never has to infer a dimension of an empty tensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgepose.export.graphs.llama_parts import LlamaParts

__all__ = ["AttentionRows", "LlamaAttention"]

_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class AttentionRows:
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


class LlamaAttention:
    """Emits what a decoder's layers attend with into the graph of its parts."""

    def __init__(self, parts: LlamaParts) -> None:
        self.parts = parts
        self.graph = parts.graph
        self.config = parts.config
        self.group = parts.config.heads // parts.config.kv_heads

    def rows(self, count: str, rows: str, cos: str, sin: str, bias: str) -> AttentionRows:
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
        return AttentionRows(
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

    def keys_and_values(self, layer: int, normed: str, cos: str, sin: str) -> tuple[str, str]:
        """New keys and values, each (kv_heads, N, T, head_dim)."""
        graph = self.graph
        split = graph.ints(0, 0, self.config.kv_heads, self.config.head_dim)
        with graph.scope("key"):
            projected = self.parts.linear(layer, normed, "self_attn.k_proj")
            normed_heads = self._head_norm(layer, graph.op("Reshape", projected, split), "k_norm")
            by_head = graph.op("Transpose", normed_heads, perm=[2, 0, 1, 3])
            key = self._rotate(by_head, cos, sin)
        with graph.scope("value"):
            projected = self.parts.linear(layer, normed, "self_attn.v_proj")
            value = graph.op("Transpose", graph.op("Reshape", projected, split), perm=[2, 0, 1, 3])
        return key, value

    def queries(self, layer: int, normed: str, rows: AttentionRows) -> str:
        """Scaled, rotated queries (kv_heads, N, g*rows, head_dim)."""
        graph, config = self.graph, self.config
        with graph.scope("query"):
            projected = self.parts.linear(layer, normed, "self_attn.q_proj")
            if self.group == 1:
                split = graph.op("Reshape", projected, graph.ints(0, 0, config.heads, config.head_dim))
                by_head = graph.op("Transpose", self._head_norm(layer, split, "q_norm"), perm=[2, 0, 1, 3])
                return self._rotate(by_head, rows.cos, rows.sin)
            shape = graph.ints(0, 0, config.kv_heads, self.group, config.head_dim)
            normed_heads = self._head_norm(layer, graph.op("Reshape", projected, shape), "q_norm")
            by_head = graph.op("Transpose", normed_heads, perm=[2, 0, 3, 1, 4])
            rotated = self._rotate(by_head, rows.cos, rows.sin)  # (kv_heads, N, g, rows, head_dim)
            return graph.op("Reshape", rotated, graph.ints(0, 0, -1, config.head_dim))

    def attend(
        self, query: str, cache: tuple[str, str, str, str, str, str], segments: str, rows: AttentionRows
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
        scores = self.parts.widen(scores)
        if self.group > 1:
            scores = graph.op("Reshape", scores, rows.grouped)
        shares = graph.op("Softmax", graph.op("Add", scores, rows.bias, name="biased"), axis=-1)
        if self.group > 1:
            shares = graph.op("Reshape", shares, rows.ungrouped)
        shares = self.parts.narrow(shares)
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

    def _head_norm(self, layer: int, x: str, name: str) -> str:
        """The norm of each head of queries or keys (..., head_dim), where the model has one."""
        if not self.config.qk_norm:
            return x
        return self.parts.rms_norm(x, f"decoder.layers.{layer}.self_attn.{name}.weight", name)

    def _rotate(self, x: str, cos: str, sin: str) -> str:
        """Rotary positions, computed in float32; `cos` and `sin` broadcast to `x` (..., rows, head_dim)."""
        graph = self.graph
        wide = self.parts.widen(x)
        left, right = graph.ops("Split", wide, outputs=2, axis=-1, num_outputs=2)
        swapped = graph.op("Concat", right, left, axis=-1)
        turned = graph.op("Add", graph.op("Mul", wide, cos), graph.op("Mul", swapped, sin))
        return self.parts.narrow(turned)

    def _scores(self, query: str, key: str, name: str) -> str:
        turned = self.graph.op("Transpose", key, name=f"{name}_key_turned", perm=[0, 1, 3, 2])
        return self.graph.op("MatMul", query, turned, name=f"{name}_scores")
