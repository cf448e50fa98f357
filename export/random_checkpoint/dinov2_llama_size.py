# SPDX-License-Identifier: Apache-2.0
"""Sizes of random LocLLM and PoseLLM checkpoints.

What is written in these sizes does not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["SIZES", "RandomSize"]


@dataclass(frozen=True, slots=True)
class RandomSize:
    """Sizes of a checkpoint to write; patches of 14 pixels and a 37 x 37 position table are as published."""

    vision_hidden: int = 128
    """A multiple of 64."""
    vision_layers: int = 2
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 4
    intermediate: int = 256
    connector_hidden: int = 192
    """Width between the two layers of a PoseLLM connector."""
    crop_size: int = 224
    vocabulary: int | None = None
    """Rows of embedding table and head, which the tokenizer must have or is filled up to; default: its
    own."""


SIZES: Mapping[str, RandomSize] = MappingProxyType(
    {
        "small": RandomSize(),
        "wide": RandomSize(
            vision_hidden=1024, hidden=2048, layers=4, heads=16, kv_heads=16, intermediate=5504
        ),
        "published": RandomSize(
            vision_hidden=1024,
            vision_layers=24,
            hidden=4096,
            layers=32,
            heads=32,
            kv_heads=32,
            intermediate=11008,
            connector_hidden=4096,
            vocabulary=32000,
        ),
    }
)
