# SPDX-License-Identifier: Apache-2.0
"""Decoders of the Llama line (RMSNorm, rotary positions, grouped-query attention, SwiGLU) with a cache, in
PyTorch: Llama 2 itself and Qwen3, whose heads have norms and whose first layers take further image features.

Prompts, sampling and image insertion do not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepose.export.models.attention import attend

__all__ = ["Decoder", "DecoderAttention", "DecoderConfig", "KeyValue", "rotary_table", "rotate"]

KeyValue = tuple[Tensor, Tensor]
"""Rotated keys and values of one layer, each (N, kv_heads, length, head_dim)."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes and constants of a decoder of the Llama line."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    """Rows of the embedding table and of the head."""
    rope_theta: float
    rms_norm_eps: float
    max_positions: int
    qk_norm: bool = False
    """Whether each head of the queries and keys has an RMSNorm before the rotation."""
    rope_sections: tuple[int, ...] = ()
    """(3,) frequencies that follow time, row and column of an image token (interleaved M-RoPE); empty where
    positions are one number."""
    deepstack: int = 0
    """First layers behind each of which further image features are added (DeepStack)."""


def rotary_table(
    positions: Tensor, head_dim: int, theta: float, sections: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions in the half-split layout (both halves hold the same angles).

    Args:
        positions: (N, T) int64 positions; with `sections` (3, N, T): time, row and column.
        head_dim: Channels of one head.
        theta: Base of the frequencies.
        sections: Frequencies that follow time, row and column; empty for positions of one number. Frequency i
            follows the row where i % 3 is 1, the column where i % 3 is 2, as long as their counts last, and
            time everywhere else.

    Returns:
        Cosines and sines, each (N, T, head_dim) float32.

    Source: Qwen3-VL (arXiv 2511.21631), interleaved M-RoPE.
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.to(torch.float32).unsqueeze(-1) * (1.0 / theta**exponent)
    if sections:
        index = torch.arange(head_dim // 2, device=positions.device)
        axis = index % 3
        axis = axis * (index < 3 * torch.tensor(sections, device=positions.device)[axis])
        angles = angles.gather(0, axis.expand(1, *angles.shape[1:])).squeeze(0)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary positions. `x` (N, heads, T, head_dim), `cos` and `sin` (N, 1, T, head_dim)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class RmsNorm(nn.Module):
    """Root-mean-square norm; computed in float32, returned in the input dtype."""

    def __init__(self, hidden: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class DecoderAttention(nn.Module):
    """Grouped-query attention over cached and new tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)
        self.q_norm, self.k_norm = _head_norm(config), _head_norm(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, seen: Tensor, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        count, tokens, _ = x.shape

        def split(projected: Tensor) -> Tensor:
            return projected.view(count, tokens, -1, self.config.head_dim).transpose(1, 2)

        query = rotate(self.q_norm(split(self.q_proj(x))), cos, sin)
        key = rotate(self.k_norm(split(self.k_proj(x))), cos, sin)
        value = split(self.v_proj(x))
        if past is not None:
            key = torch.cat((past[0], key), dim=2)
            value = torch.cat((past[1], value), dim=2)
        group = self.config.heads // self.config.kv_heads
        wide_key = key.repeat_interleave(group, dim=1) if group > 1 else key
        wide_value = value.repeat_interleave(group, dim=1) if group > 1 else value
        mixed = attend(query, wide_key, wide_value, seen)
        return self.o_proj(mixed.transpose(1, 2).reshape(count, tokens, -1)), (key, value)


def _head_norm(config: DecoderConfig) -> nn.Module:
    return RmsNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()


class DecoderMlp(nn.Module):
    """SwiGLU feed-forward network."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return output


class DecoderLayer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = DecoderAttention(config)
        self.mlp = DecoderMlp(config)
        self.input_layernorm = RmsNorm(config.hidden, config.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(config.hidden, config.rms_norm_eps)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, seen: Tensor, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        mixed, present = self.self_attn(self.input_layernorm(x), cos, sin, seen, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Decoder(nn.Module):
    """Embeddings to hidden states, with an optional cache.

    Source: Llama 2 (arXiv 2307.09288) and Qwen3-VL (arXiv 2511.21631), semantics of `transformers`'
    `LlamaModel` and `Qwen3VLTextModel`.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RmsNorm(config.hidden, config.rms_norm_eps)

    def forward(
        self,
        embeddings: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        allowed: Tensor | None = None,
        past: Sequence[KeyValue] | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> tuple[Tensor, list[KeyValue]]:
        """Runs new tokens on top of cached ones, causally in the order of the sequence.

        Args:
            embeddings: (N, T, hidden), embeddings of the new tokens.
            positions: (N, T) int64 rotary positions, or (3, N, T) with `rope_sections`; any values; default:
                `L .. L+T-1`, continuing the cache.
            mask: (N, L+T), true or 1 where a token, cached or new, may be attended to; default: everywhere.
                A token always sees itself, so rows that are masked throughout stay finite.
            allowed: (1 or N, T, L+T) bool, true where a new token (row) may attend to a token, besides the
                causal order; for sequences that hold several questions side by side. Default: everywhere.
            past: One `KeyValue` of length L per layer, as an earlier call returned it; default: none.
            deepstack: Tensors to add to the hidden states behind the first layers, each broadcast to
                (N, T, hidden).

        Returns:
            Hidden states after the final norm, (N, T, hidden), and one `KeyValue` of length L+T per layer.
        """
        count, tokens, _ = embeddings.shape
        cached = past[0][0].shape[2] if past else 0
        query_index = torch.arange(cached, cached + tokens, device=embeddings.device)
        key_index = torch.arange(cached + tokens, device=embeddings.device)
        if positions is None:
            axes = (len(self.config.rope_sections),) if self.config.rope_sections else ()
            positions = query_index.expand(*axes, count, -1)
        seen = (key_index[None, :] <= query_index[:, None])[None, None]
        own = key_index[None, :] == query_index[:, None]
        if mask is not None:
            seen = (seen & mask.to(torch.bool)[:, None, None, :]) | own
        if allowed is not None:
            seen = (seen & allowed[:, None]) | own
        cos, sin = rotary_table(
            positions, self.config.head_dim, self.config.rope_theta, self.config.rope_sections
        )
        cos, sin = cos.to(embeddings.dtype).unsqueeze(1), sin.to(embeddings.dtype).unsqueeze(1)
        x, present = embeddings, []
        for index, layer in enumerate(self.layers):
            x, layer_present = layer(x, cos, sin, seen, past[index] if past else None)
            if index < len(deepstack):
                x = x + deepstack[index]
            present.append(layer_present)
        return self.norm(x), present
