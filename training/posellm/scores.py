# SPDX-License-Identifier: Apache-2.0
"""The quick score of a validation during training; the published protocols are in `edgepose.evaluation`."""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.training.posellm.crops import NAMES

__all__ = ["torso_pck"]

_DIAGONALS = (("left shoulder", "right hip"), ("right shoulder", "left hip"))


def torso_pck(answered: Tensor, joints: Tensor, *, share: float = 0.2) -> float:
    """Share of known keypoints that lie within a share of the torso's length of their place.

    The torso is the line from the left shoulder to the right hip, or the other one where that is not known;
    people without either are left out.

    Args:
        answered: (B, K, 2) coordinates over the side of the crop.
        joints: (B, K, 3) true ones, and 1 where known.
        share: Of the torso.
    """
    torso = answered.new_zeros(len(joints))
    for first, second in reversed(_DIAGONALS):
        a, b = joints[:, NAMES.index(first)], joints[:, NAMES.index(second)]
        known = (a[:, 2] > 0) & (b[:, 2] > 0)
        torso = torch.where(known, (a[:, :2] - b[:, :2]).norm(dim=-1), torso)
    distance = (answered - joints[..., :2]).norm(dim=-1)
    counted = (joints[..., 2] > 0) & (torso > 0)[:, None]
    hits = (distance <= share * torso[:, None]) & counted
    return float(hits.sum() / counted.sum().clamp(min=1))
