# SPDX-License-Identifier: Apache-2.0
"""A model small enough to train in a test, and crops to train it on."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepose.training.photographs import Photographs
from edgepose.training.posellm.crops import NAMES

TINY: dict[str, Any] = {
    "crop_size": 42,
    "patch_size": 14,
    "vision": {"hidden": 64, "layers": 2, "heads": 1, "mlp": 96},
    "connector_hidden": 48,
    "decoder": {
        "hidden": 64,
        "layers": 2,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 32,
        "intermediate": 80,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "max_positions": 512,
    },
    "vocabulary": 1024,
}
"""A description as those in `training/nano`."""


def dot_pictures(count: int, size: int = 42, seed: int = 0) -> Photographs:
    """Pictures with a white dot where the nose is, and a second keypoint that nobody labelled."""
    numbers = np.random.default_rng(seed)
    images = numbers.integers(0, 60, (count, size, size, 3)).astype(np.uint8)
    joints = np.zeros((count, 2, 3), np.float32)
    for row in range(count):
        x, y = numbers.integers(4, size - 4, 2)
        images[row, y - 2 : y + 3, x - 2 : x + 3] = 255
        joints[row, 0] = x, y, 1
    names = (NAMES[0], NAMES[1])
    return Photographs(names, images, np.full((count, 2), size, np.int64), joints)
