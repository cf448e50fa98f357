# SPDX-License-Identifier: Apache-2.0
"""A head on the image rows that is thrown away: it teaches a new encoder where joints are.

It is no part of a checkpoint, and nothing of it is known to the runtime.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepose.training.taihri.frames import Frames
from edgepose.training.taihri.model import FrameRows

__all__ = ["RowHead", "spread_over_cells"]

_METRES = (5.0, 5.0, 4.0)
"""Extent of the shares of x, y and z, to weigh their errors alike."""
_NUMBERS = 0.3
"""Weight of the numbers beside the maps, without which there is nothing to read numbers from."""
_EPS = 1e-6
_CLOSE = 0.1
"""Metres, and shares of the frame's shorter side, below which errors count by their square."""


class RowHead(nn.Module):
    """For each joint a map over the rows, and from the row that it points to the joint's place.

    The decoder is to do the same: find the row of a joint by its name, and say the numbers found there. So
    the map is made with the embeddings of the joints' tokens, from rows normed as the decoder's first layer
    does.
    """

    def __init__(self, hidden: int, joints: int) -> None:
        """
        Args:
            hidden: Width of the rows.
            joints: How many there are.
        """
        super().__init__()
        self.sharpness = nn.Parameter(torch.ones(joints, 1))
        self.places = nn.Parameter(torch.zeros(joints, hidden, 5))
        self.start = nn.Parameter(torch.tensor([0.0, 0.0, 0.5, 0.5, 0.3]).repeat(joints, 1))

    def forward(self, rows: FrameRows, names: Tensor) -> tuple[Tensor, Tensor]:
        """Finds all joints.

        Args:
            rows: (B, R, hidden) of frames of one size.
            names: (joints, hidden) embeddings of the joints' tokens.

        Returns:
            Logits of the map of each joint, (B, joints, R); and its numbers, (B, joints, 5) float32: shares
            of the frame, shares of the ranges.
        """
        normed = functional.rms_norm(rows.embeddings.float(), names.shape[1:], eps=_EPS)
        logits = (names @ normed.transpose(1, 2)).float() * self.sharpness
        map_ = logits.softmax(-1)
        centres = _centres(rows.rows, rows.columns, map_.device)
        pointed = (map_ @ normed).float()
        numbers = torch.einsum("bjh,jhn->bjn", pointed, self.places).float() + self.start
        cell = torch.tensor([1 / rows.columns, 1 / rows.rows], device=map_.device)
        xy = map_ @ centres + numbers[..., :2] * cell
        return logits, torch.cat((xy, numbers[..., 2:]), dim=-1)

    def loss(self, rows: FrameRows, names: Tensor, frames: Frames) -> dict[str, Tensor]:
        """What is minimised, and the mean error in metres.

        Args:
            rows: Of the frames.
            names: As above.
            frames: With their joints; on the device of the rows.
        """
        logits, found = self(rows, names)
        usable = frames.usable
        count = usable.sum().clamp(min=1)
        aim = spread_over_cells(frames.xy, rows.rows, rows.columns)
        maps = -(aim * logits.log_softmax(-1)).sum(-1)
        shorter = torch.tensor(frames.pixels.shape[1:3], device=found.device).flip(0)
        scale = torch.cat((shorter / shorter.min(), torch.tensor(_METRES, device=found.device)))
        errors = (found - torch.cat((frames.xy, frames.xyz), dim=-1)) * scale
        errors = torch.where(usable[..., None], errors, torch.zeros_like(errors))
        close = functional.smooth_l1_loss(errors, torch.zeros_like(errors), beta=_CLOSE, reduction="none")
        metres = (errors[..., 2:].norm(dim=-1) * usable).sum() / count
        pointed = (maps * usable).sum() / count
        numbers = (close.sum(-1) * usable).sum() / count / _CLOSE
        return {"loss": pointed + _NUMBERS * numbers, "row_map": pointed, "row_metres": metres}


def _centres(rows: int, columns: int, device: torch.device) -> Tensor:
    """(R, 2): middle of each cell, shares of the frame."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack(((x + 0.5) / columns, (y + 0.5) / rows), dim=-1).flatten(0, 1).to(device)


def spread_over_cells(xy: Tensor, rows: int, columns: int) -> Tensor:
    """(B, J, R): each place shared bilinearly among the cells around it."""
    lines = []
    for axis, count in ((1, rows), (0, columns)):
        at = (xy[..., axis] * count - 0.5).clamp(0, count - 1)
        distance = (at[..., None] - torch.arange(count, device=xy.device)).abs()
        lines.append((1 - distance).clamp(min=0))
    return (lines[0][..., :, None] * lines[1][..., None, :]).flatten(-2)
