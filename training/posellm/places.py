# SPDX-License-Identifier: Apache-2.0
"""Where in the patches each keypoint is: the throw-away head that teaches a new encoder to see people.

The published systems start from an encoder that others trained; a compact one has to learn to see first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgepose.training.posellm.crops import NAMES

__all__ = ["PlacesHead", "place_loss", "soft_targets"]


class PlacesHead(nn.Module):
    """Patch features to logits of each keypoint lying at each patch; thrown away after training."""

    def __init__(self, hidden: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.linear = nn.Linear(hidden, len(NAMES))

    def forward(self, features: Tensor) -> Tensor:
        """(B, patches, hidden) to (B, K, patches)."""
        logits: Tensor = self.linear(features).transpose(1, 2)
        return logits

    def read(self, logits: Tensor) -> Tensor:
        """Coordinates (B, K, 2) over the side: the centre of mass around the likeliest patch."""
        grid = self.grid
        best = logits.argmax(-1, keepdim=True)
        index = torch.arange(grid * grid, device=logits.device)
        row, column = index // grid, index % grid
        near = ((row - best // grid).abs() <= 1) & ((column - best % grid).abs() <= 1)
        weight = logits.float().masked_fill(~near, -torch.inf).softmax(-1)
        centres = torch.stack((column, row), -1).to(weight.dtype) + 0.5
        return weight @ centres / grid


def soft_targets(joints: Tensor, grid: int) -> Tensor:
    """Weights (B, K, patches) of the up to four patches around each place, bilinear: their centre of mass is
    the place."""
    x = (joints[..., :2] * grid - 0.5).clamp(0, grid - 1)
    cells = torch.arange(grid, device=joints.device)
    weights = (1 - (x.unsqueeze(-1) - cells).abs()).clamp(min=0)  # (B, K, 2, grid)
    return (weights[:, :, 1, :, None] * weights[:, :, 0, None, :]).flatten(2)


def place_loss(logits: Tensor, joints: Tensor, grid: int) -> Tensor:
    """Cross-entropy of the known keypoints."""
    known = joints[..., 2] > 0
    loss = -(soft_targets(joints, grid) * logits.float().log_softmax(-1)).sum(-1)
    return (loss * known).sum() / known.sum().clamp(min=1)
