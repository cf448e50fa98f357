# SPDX-License-Identifier: Apache-2.0
"""Sizes of random TAIHRI checkpoints.

What is written in these sizes does not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["QWEN3_VL_SIZES", "RandomQwen3VlSize"]


@dataclass(frozen=True, slots=True)
class RandomQwen3VlSize:
    """Sizes of a checkpoint to write; four patches to a token are as published."""

    vision_hidden: int = 128
    vision_layers: int = 4
    vision_heads: int = 4
    vision_intermediate: int = 256
    taps: tuple[int, ...] = (0, 1, 2)
    """Layers of the encoder whose features reach the decoder's first layers."""
    patch_size: int = 16
    """Pixels along one side of a patch."""
    table_side: int = 8
    """Rows and columns of the position table."""
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 256
    tied: bool = True
    """Whether head and embedding table are one."""
    vocabulary: int | None = None
    """Rows of embedding table and head, at least as many as the tokenizer has tokens; default: as many."""
    merges: int = 160
    """Tokens of several bytes that the tokenizer learns, at most."""
    max_pixels: int = 2560 * 28 * 28
    """Most pixels of a frame; those of the published demo are 2,007,040."""


QWEN3_VL_SIZES: Mapping[str, RandomQwen3VlSize] = MappingProxyType(
    {
        "small": RandomQwen3VlSize(),
        "wide": RandomQwen3VlSize(
            vision_hidden=1024,
            vision_heads=16,
            vision_intermediate=4096,
            table_side=48,
            hidden=2048,
            heads=16,
            kv_heads=8,
            head_dim=128,
            intermediate=6144,
        ),
        "2b": RandomQwen3VlSize(
            vision_hidden=1024,
            vision_layers=24,
            vision_heads=16,
            vision_intermediate=4096,
            taps=(5, 11, 17),
            table_side=48,
            hidden=2048,
            layers=28,
            heads=16,
            kv_heads=8,
            head_dim=128,
            intermediate=6144,
            vocabulary=152_704,
        ),
    }
)
"""`2b` is Qwen3-VL-2B with added rows of the vocabulary."""
