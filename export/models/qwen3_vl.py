# SPDX-License-Identifier: Apache-2.0
"""The vision encoder of Qwen3-VL and the mergers behind it, as PyTorch modules.

Positions of patches are given by the host; cutting frames into patches does not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepose.export.models.attention import attend

__all__ = ["GridVisionConfig", "GridVisionEncoder", "Merger", "Mergers", "MergersConfig"]

LAYER_NORM_EPS = 1e-6
"""Of every layer norm; a constant of the published code."""


@dataclass(frozen=True, slots=True)
class GridVisionConfig:
    """Sizes of the encoder; frames of any size go through it."""

    patch_size: int
    """Side of a patch, pixels."""
    merge: int
    """Patches along one side of the square that becomes one row of image embeddings."""
    hidden: int
    layers: int
    heads: int
    mlp: int
    """Width of the hidden layer of each MLP."""
    table_side: int
    """Rows and columns of the position table."""
    rope_theta: float
    taps: tuple[int, ...]
    """Layers whose output goes to the decoder beside that of the last one, ascending from 0."""

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden // self.heads

    @property
    def patch_values(self) -> int:
        """Numbers that describe one patch: 3 * patch_size * patch_size."""
        return 3 * self.patch_size**2


@dataclass(frozen=True, slots=True)
class MergersConfig:
    """Sizes of the mergers."""

    features: int
    """Width of one patch feature."""
    merge: int
    """Patches along one side of the square that becomes one row."""
    out: int
    """Width of the decoder."""
    deepstack: int
    """Mergers of taps."""

    @property
    def square(self) -> int:
        """Width of the features of one square together."""
        return self.features * self.merge**2


class GridAttention(nn.Module):
    """Full attention within one frame, with rotary positions; one fused projection as in DINOv2's."""

    def __init__(self, config: GridVisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        fused = self.qkv(x).view(*x.shape[:-1], 3, self.heads, -1).transpose(-4, -2)
        query, key, value = fused.unbind(-3)  # each (..., heads, P, head_dim)

        def rotate(each: Tensor) -> Tensor:
            left, right = each.chunk(2, dim=-1)
            return each * cos + torch.cat((-right, left), dim=-1) * sin

        mixed = attend(rotate(query), rotate(key), value)
        output: Tensor = self.proj(mixed.transpose(-3, -2).flatten(-2))
        return output


class GridMlp(nn.Module):
    """Two linear layers with the GELU in its tanh approximation between."""

    def __init__(self, config: GridVisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.mlp)
        self.fc2 = nn.Linear(config.mlp, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return output


class GridBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: GridVisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden, eps=LAYER_NORM_EPS)
        self.attn = GridAttention(config)
        self.norm2 = nn.LayerNorm(config.hidden, eps=LAYER_NORM_EPS)
        self.mlp = GridMlp(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin)
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class GridVisionEncoder(nn.Module):
    """Patches of one frame, or of several of one size, to features.

    The published convolution over two equal pictures is one matrix here, the sum over the pictures.

    Source: Qwen3-VL (arXiv 2511.21631), semantics of `transformers`' `Qwen3VLVisionModel` before its mergers.
    """

    def __init__(self, config: GridVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Linear(config.patch_values, config.hidden)
        self.pos_embed = nn.Embedding(config.table_side**2, config.hidden)
        self.blocks = nn.ModuleList(GridBlock(config) for _ in range(config.layers))

    def forward(
        self, patches: Tensor, indices: Tensor, weights: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Encodes frames.

        Args:
            patches: (..., P, 3 * patch_size * patch_size), order C, y, x; those of a merged square in a row.
            indices: (4, P) int64, rows of the position table.
            weights: (4, P), their shares.
            cos: (P, head_dim), half-split layout.
            sin: (P, head_dim).

        Returns:
            Features (..., P, hidden) of the last layer, without a norm, and those of each tap.
        """
        x = self.patch_embed(patches) + (self.pos_embed(indices) * weights.unsqueeze(-1)).sum(0)
        tapped = []
        for index, block in enumerate(self.blocks):
            x = block(x, cos, sin)
            if index in self.config.taps:
                tapped.append(x)
        return x, tapped


class Merger(nn.Module):
    """Joins the features of each square of patches and maps them to one row of the decoder's width."""

    def __init__(self, config: MergersConfig, *, norm: int) -> None:
        """`norm`: width that the layer norm works on, that of one patch or of the whole square."""
        super().__init__()
        self.square = config.square
        self.norm = nn.LayerNorm(norm, eps=LAYER_NORM_EPS)
        self.fc1 = nn.Linear(config.square, config.square)
        self.fc2 = nn.Linear(config.square, config.out)

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., P, hidden) to rows (..., P / merge**2, out)."""
        (width,) = self.norm.normalized_shape
        normed = self.norm(features.reshape(*features.shape[:-2], -1, width))
        normed = normed.view(*features.shape[:-2], -1, self.square)
        output: Tensor = self.fc2(functional.gelu(self.fc1(normed)))
        return output


class Mergers(nn.Module):
    """The connector: one merger for the features, one for each tap.

    Source: Qwen3-VL (arXiv 2511.21631), semantics of `transformers`' `Qwen3VLVisionPatchMerger`.
    """

    def __init__(self, config: MergersConfig) -> None:
        super().__init__()
        self.merger = Merger(config, norm=config.features)
        self.deepstack = nn.ModuleList(Merger(config, norm=config.square) for _ in range(config.deepstack))

    def forward(self, features: Tensor, taps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features and taps, each (..., P, hidden), to image embeddings and DeepStack features, each
        (..., R, out).
        """
        return self.merger(features), [merger(tap) for merger, tap in zip(self.deepstack, taps, strict=True)]
