# SPDX-License-Identifier: Apache-2.0
"""Poses that follow each other in time, for clips.

Single poses do not belong here: see `pose_library`.
"""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.training.rendering.bones import directions_of, joints_of
from edgepose.training.rendering.pose_library import PoseLibrary, facing_front, read_mocap

__all__ = ["MOCAP_RATE", "Motion", "motion_between", "motion_from_mocap"]

MOCAP_RATE = 10.0
"""Poses per second of the motion capture file: every twelfth of 120."""


class Motion:
    """A row of poses that `draw_scene` takes one by one."""

    def __init__(self, poses: Tensor) -> None:
        self.poses = poses
        """`(T, 22, 3)` metres, nominal body, frame of `PoseLibrary`."""

    def sample(self, generator: torch.Generator, n: int) -> Tensor:
        """The first `n` poses; nothing is drawn.

        Raises:
            InvalidInputError: the motion is shorter.
        """
        if n > len(self.poses):
            raise InvalidInputError(
                f"[motion] expected at most {len(self.poses)} poses to be asked for; got {n}; "
                "ask for fewer frames"
            )
        return self.poses[:n]


def motion_from_mocap(path: str | os.PathLike[str], clip: str, frames: int, fps: float) -> Motion:
    """A recorded clip at another rate, to and fro where it is too short.

    Raises:
        InvalidInputError: as `read_mocap`.
    """
    joints, _ = read_mocap(path, clip=clip)
    first = facing_front(joints[:1], joints)
    return _resampled(directions_of(first), frames, MOCAP_RATE / fps)


def motion_between(poses: PoseLibrary, generator: torch.Generator, frames: int, fps: float) -> Motion:
    """From one drawn pose to the next, one and a half seconds each."""
    keys = max(2, math.ceil(frames / fps / 1.5) + 1)
    return _resampled(directions_of(poses.sample(generator, keys)), frames, 1 / (1.5 * fps))


def _resampled(directions: Tensor, frames: int, step: float) -> Motion:
    last = max(len(directions) - 1, 1)
    time = torch.arange(frames) * step
    there_and_back = last - (time % (2 * last) - last).abs()
    low = there_and_back.floor().long().clamp(max=len(directions) - 1)
    high = (low + 1).clamp(max=len(directions) - 1)
    share = (there_and_back - low)[:, None, None]
    mixed = directions[low] * (1 - share) + directions[high] * share
    return Motion(joints_of(torch.nn.functional.normalize(mixed, dim=-1, eps=1e-9)))
