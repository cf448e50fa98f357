# SPDX-License-Identifier: Apache-2.0
"""How cameras see people: as photographers frame them, and as a robot's or a headset's camera does from near.

What stands in front of the cameras does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.draws import Draws

__all__ = ["PHOTOGRAPHS", "View", "draw_close_view", "draw_view"]

PHOTOGRAPHS = ((640, 480), (480, 640), (640, 427), (427, 640), (512, 512), (640, 360))
"""Widths and heights of the pictures that people are found in, pixels."""

# What the camera looks at: the upper body more often than the whole, and hardly else from near.
_FOCI = {"head": 0.5, "neck": 1.5, "spine3": 2.0, "spine2": 2.0, "spine1": 1.0, "pelvis": 0.7}
_NEAR_FOCI = {"head": 2.0, "neck": 2.5, "spine3": 1.0}
_NEAR_RANGE = 1.0  # metres


@dataclass(frozen=True, slots=True)
class View:
    """B cameras and where in front of them the main person is."""

    focal: Tensor
    """(B,): pixels."""
    principal: Tensor
    """(B, 2): pixels."""
    pitch: Tensor
    """(B,): how far the camera looks down, radians."""
    roll: Tensor
    """(B,): radians."""
    target: Tensor
    """(B, 3): where the main person's `focus` is, camera frame, metres."""
    focus: Tensor
    """(B, 22): weights of the joints whose mean is the focus; sum 1."""

    @property
    def projection(self) -> Tensor:
        """(B, 3, 3): camera matrices."""
        matrix = torch.zeros(len(self.focal), 3, 3, device=self.focal.device)
        matrix[:, 0, 0] = matrix[:, 1, 1] = self.focal
        matrix[:, :2, 2] = self.principal
        matrix[:, 2, 2] = 1
        return matrix


def draw_view(draws: Draws, sizes: Tensor) -> View:
    """Cameras as photographers hold them.

    Args:
        sizes: `(B, 2)` width and height of the images, pixels.
    """
    count = len(sizes)
    width, height = sizes.unbind(1)
    focal = sizes.amax(1) * draws.log_uniform((count,), (0.7, 2.2))
    principal = sizes / 2 - 0.5 + draws.normal((count, 2), 0.02) * sizes
    close = draws.chance((count,), 0.28)
    share = torch.where(close, draws.log_uniform((count,), (0.95, 2.4)), draws.uniform((count,), (0.3, 0.95)))
    depth = (focal * 1.7 / (share * height)).clamp(min=0.9)
    place = torch.stack(
        [
            0.5 + draws.normal((count,), 0.17),
            torch.where(close, draws.uniform((count,), (0.5, 1.05)), 0.5 + draws.normal((count,), 0.1)),
        ],
        dim=1,
    )
    ray = (place * sizes - principal) / focal[:, None]
    focus = torch.zeros(count, 22, device=draws.device)
    focus[:, JOINTS["pelvis"]] = 1.0
    pitch = draws.normal((count,), 0.16) + 0.06
    return View(
        focal=focal,
        principal=principal,
        pitch=pitch,
        roll=draws.normal((count,), 0.06),
        target=torch.cat([ray, torch.ones_like(ray[:, :1])], 1) * depth[:, None],
        focus=focus,
    )


def draw_close_view(
    draws: Draws,
    count: int,
    width: int,
    height: int,
    focal: tuple[float, float],
    distance: tuple[float, float],
) -> View:
    """Cameras in front of people's upper bodies, at heights between waist and head."""
    size = torch.tensor([width, height], dtype=torch.float32, device=draws.device)
    focals = draws.log_uniform((count,), focal)
    principal = size / 2 - 0.5 + draws.normal((count, 2), 0.025) * size
    depth = draws.uniform((count,), distance)
    place = 0.5 + draws.normal((count, 2), 0.13, limit=2.0)
    ray = (place * size - principal) / focals[:, None]
    focus = torch.zeros(count, 22, device=draws.device)
    usual, near = _foci(draws, count, _FOCI), _foci(draws, count, _NEAR_FOCI)
    joints = torch.where(depth < _NEAR_RANGE, near, usual)
    focus[torch.arange(count, device=draws.device), joints] = 1.0
    return View(
        focal=focals,
        principal=principal,
        pitch=draws.normal((count,), 0.22),
        roll=draws.normal((count,), 0.08),
        target=torch.cat([ray, torch.ones_like(ray[:, :1])], 1) * depth[:, None],
        focus=focus,
    )


def _foci(draws: Draws, count: int, weights: dict[str, float]) -> Tensor:
    """`(count,)` places of joints."""
    places = torch.tensor([JOINTS[name] for name in weights], device=draws.device)
    return places[draws.choice((count,), list(weights.values()))]
