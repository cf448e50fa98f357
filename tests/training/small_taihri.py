# SPDX-License-Identifier: Apache-2.0
"""Very small TAIHRIs that have learnt nothing, for tests of training."""

from __future__ import annotations

from pathlib import Path

from edgepose.export.random_checkpoint import RandomQwen3VlSize
from edgepose.training.taihri.checkpoint import create_checkpoint

SMALL = RandomQwen3VlSize(
    vision_hidden=32,
    vision_layers=2,
    vision_heads=2,
    vision_intermediate=64,
    taps=(0,),
    table_side=8,
    hidden=32,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=16,
    intermediate=48,
    merges=640,
    max_pixels=125440,
)


def small_taihri(
    folder: Path, *, seed: int = 0, dtype: str = "float32", size: RandomQwen3VlSize = SMALL
) -> Path:
    """Writes one whose canonical focal length is 250 pixels."""
    return create_checkpoint(folder, size, canonical_focal=250.0, seed=seed, dtype=dtype)
