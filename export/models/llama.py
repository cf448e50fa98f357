# SPDX-License-Identifier: Apache-2.0
"""Llama decoder (RMSNorm, rotary positions, grouped-query attention, SwiGLU) with a cache, in PyTorch.

Prompts, sampling and image insertion do not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Decoder", "DecoderConfig", "KeyValue", "rotary_table"]

KeyValue = tuple[Tensor, Tensor]
"""Rotated keys and values of one layer, each (N, kv_heads, length, head_dim)."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes and constants of a Llama decoder."""

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


def rotary_table(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions in the half-split layout (both halves hold the same angles).

    Args:
        positions: (N, T) int64 positions.
        head_dim: Channels of one head.
        theta: Base of the frequencies.

    Returns:
        Cosines and sines, each (N, T, head_dim) float32.
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.to(torch.float32).unsqueeze(-1) * (1.0 / theta**exponent)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
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

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, allowed: Tensor, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        count, tokens, _ = x.shape

        def split(projected: Tensor) -> Tensor:
            return projected.view(count, tokens, -1, self.config.head_dim).transpose(1, 2)

        query = _rotate(split(self.q_proj(x)), cos, sin)
        key = _rotate(split(self.k_proj(x)), cos, sin)
        value = split(self.v_proj(x))
        if past is not None:
            key = torch.cat((past[0], key), dim=2)
            value = torch.cat((past[1], value), dim=2)
        group = self.config.heads // self.config.kv_heads
        wide_key = key.repeat_interleave(group, dim=1) if group > 1 else key
        wide_value = value.repeat_interleave(group, dim=1) if group > 1 else value
        mixed = functional.scaled_dot_product_attention(query, wide_key, wide_value, attn_mask=allowed)
        return self.o_proj(mixed.transpose(1, 2).reshape(count, tokens, -1)), (key, value)


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
        self, x: Tensor, cos: Tensor, sin: Tensor, allowed: Tensor, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        mixed, present = self.self_attn(self.input_layernorm(x), cos, sin, allowed, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Decoder(nn.Module):
    """Embeddings to hidden states, with an optional cache.

    Source: Llama 2 (arXiv 2307.09288), semantics of `transformers`' `LlamaModel`.
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
        past: Sequence[KeyValue] | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Runs new tokens on top of cached ones, causally in the order of the sequence.

        Args:
            embeddings: (N, T, hidden), embeddings of the new tokens.
            positions: (N, T) int64 rotary positions; any values; default: `L .. L+T-1`, continuing the
                cache.
            mask: (N, L+T), true or 1 where a token, cached or new, may be attended to; default: everywhere.
                A token always sees itself, so rows that are masked throughout stay finite.
            past: One `KeyValue` of length L per layer, as an earlier call returned it; default: none.

        Returns:
            Hidden states after the final norm, (N, T, hidden), and one `KeyValue` of length L+T per layer.
        """
        count, tokens, _ = embeddings.shape
        cached = past[0][0].shape[2] if past else 0
        query_index = torch.arange(cached, cached + tokens, device=embeddings.device)
        key_index = torch.arange(cached + tokens, device=embeddings.device)
        if positions is None:
            positions = query_index.expand(count, -1)
        allowed = (key_index[None, :] <= query_index[:, None]).expand(count, 1, -1, -1)
        if mask is not None:
            own = key_index[None, :] == query_index[:, None]
            allowed = (allowed & mask.to(torch.bool)[:, None, None, :]) | own
        cos, sin = rotary_table(positions, self.config.head_dim, self.config.rope_theta)
        cos, sin = cos.to(embeddings.dtype).unsqueeze(1), sin.to(embeddings.dtype).unsqueeze(1)
        x, present = embeddings, []
        for index, layer in enumerate(self.layers):
            x, layer_present = layer(x, cos, sin, allowed, past[index] if past else None)
            present.append(layer_present)
        return self.norm(x), present
