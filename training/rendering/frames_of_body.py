# SPDX-License-Identifier: Apache-2.0
"""The frames of pelvis, chest and head of bodies given by their joints, and points of the head in its frame.

Solids do not belong here, nor do the keypoints of data sets: see `landmarks`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.vectors import frame_of, rotation, unit

__all__ = ["BodyFrames", "body_frames"]


@dataclass(frozen=True, slots=True)
class BodyFrames:
    """Frames of P bodies: columns are left, up and front of the body part, in the frame of the joints."""

    pelvis: Tensor
    """(P, 3, 3)."""
    chest: Tensor
    """(P, 3, 3)."""
    head: Tensor
    """(P, 3, 3)."""
    mid_hip: Tensor
    """(P, 3), metres: the middle between the hip joints."""


def body_frames(joints: Tensor, head_turn: Tensor) -> BodyFrames:
    """Frames of bodies.

    Args:
        joints: `(P, 22, 3)` metres, SMPL order.
        head_turn: `(P, 3)` radians: yaw to the person's left, pitch downwards, roll of the head against the
            chest. Joints alone do not say where a head looks.
    """

    def at(name: str) -> Tensor:
        return joints[:, JOINTS[name]]

    mid_hip = (at("left_hip") + at("right_hip")) / 2
    pelvis = frame_of(at("left_hip") - at("right_hip"), at("spine1") - mid_hip)
    chest = frame_of(at("left_shoulder") - at("right_shoulder"), at("neck") - at("spine2"))
    up = unit(unit(at("head") - at("neck")) + chest[..., 1])
    yaw, pitch, roll = head_turn.unbind(1)
    head = frame_of(chest[..., 0], up) @ rotation(1, yaw) @ rotation(0, pitch) @ rotation(2, roll)
    return BodyFrames(pelvis, chest, head, mid_hip)
