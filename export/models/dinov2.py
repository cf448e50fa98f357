# SPDX-License-Identifier: Apache-2.0
"""DINOv2 vision transformer (layer scale, no register tokens, exact GELU) as a PyTorch module.

Resizing the position table and merging adapters happen before the weights get here, in
`edgepose.export.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepose.export.models.attention import attend

__all__ = ["HEAD_DIM", "VisionConfig", "VisionEncoder"]

HEAD_DIM = 64
"""Every DINOv2 size has heads of 64 channels, so the number of heads is `hidden // 64`."""


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Sizes of a DINOv2 encoder at the resolution it is used at."""

    image_size: int
    """Side of the square input, pixels."""
    patch_size: int
    """Side of a patch, pixels; divides `image_size` or the remainder is not seen."""
    hidden: int
    layers: int
    heads: int
    mlp: int
    """Width of the hidden layer of each MLP."""
    layer_norm_eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches of one image."""
        return self.grid**2

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden // self.heads


class LayerScale(nn.Module):
    """Multiplies each channel by a learned factor."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(hidden))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class VisionAttention(nn.Module):
    """Multi-head self-attention with one fused projection: rows `0:D` query, `D:2D` key, `2D:3D` value."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, hidden = x.shape
        fused = self.qkv(x).view(batch, tokens, 3, self.heads, hidden // self.heads)
        query, key, value = fused.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, tokens, head_dim)
        mixed = attend(query, key, value)
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, hidden))
        return output


class VisionMlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.mlp)
        self.fc2 = nn.Linear(config.mlp, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return output


class VisionBlock(nn.Module):
    """Pre-norm transformer block with a layer scale on both branches."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.attn = VisionAttention(config)
        self.ls1 = LayerScale(config.hidden)
        self.norm2 = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.mlp = VisionMlp(config)
        self.ls2 = LayerScale(config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        mixed: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return mixed


class VisionEncoder(nn.Module):
    """Image crop to patch features.

    Source: DINOv2 (arXiv 2304.07193); output as LocLLM takes it, normed patch tokens without the class token.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.patches, config.hidden))
        self.patch_embed = nn.Conv2d(3, config.hidden, config.patch_size, config.patch_size)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encodes crops.

        Args:
            pixels: (B, 3, image_size, image_size), normalised RGB, y down.

        Returns:
            (B, patches, hidden), patches in row-major order, final layer norm applied, class token removed.
        """
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(pixels.shape[0], -1, -1), patches), dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.norm(x)[:, 1:]
        return features
