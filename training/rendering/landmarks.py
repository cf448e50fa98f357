# SPDX-License-Identifier: Apache-2.0
"""Keypoints of COCO and MPII from a body's joints and head, with the offsets between the definitions.

SMPL's joints are centres of rotation inside the body; annotators click what they see:

| keypoint | from |
|---|---|
| nose, eyes, ears | points of the head's frame, `HEAD_POINTS`, from the joint `head` |
| COCO hips | SMPL's hips, 2 cm outwards and 4 cm up: the side of the pelvis, where people point |
| COCO shoulders, elbows, wrists, knees, ankles | SMPL's |
| MPII hips, shoulders, ... | as COCO's |
| MPII pelvis | the middle of its hips |
| MPII thorax | the middle of the shoulders, 3 cm up |
| MPII neck ("upper neck") | the joint `head`, 1 cm down: where head and neck meet |
| MPII head_top | the crown in the head's frame |

Centimetres are of the nominal stature and grow with the person's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.keypoints import COCO17, MPII16
from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.frames_of_body import BodyFrames

__all__ = ["COCO17_RADII", "HEAD_POINTS", "MPII16_RADII", "coco17_points", "head_points", "mpii16_points"]

HEAD_POINTS = {
    "nose": (0.0, 0.055, 0.112),
    "left eye": (0.031, 0.090, 0.084),
    "right eye": (-0.031, 0.090, 0.084),
    "left ear": (0.076, 0.072, 0.004),
    "right ear": (-0.076, 0.072, 0.004),
    "neck": (0.0, -0.010, 0.0),
    "head_top": (0.0, 0.198, 0.0),
}
"""Metres to the left, upwards and to the front of the joint `head`, of the nominal stature."""


_RADII = {
    "nose": 0.02, "eye": 0.02, "ear": 0.03, "shoulder": 0.075, "elbow": 0.045, "wrist": 0.035, "hip": 0.11,
    "knee": 0.062, "ankle": 0.05, "pelvis": 0.13, "thorax": 0.10, "neck": 0.08, "head_top": 0.06,
}  # fmt: skip

COCO17_RADII: tuple[float, ...] = tuple(_RADII[name.split(" ")[-1]] for name in COCO17.keypoints)
"""Metres of flesh around each keypoint of the nominal body."""
MPII16_RADII: tuple[float, ...] = tuple(_RADII[name.split(" ")[-1]] for name in MPII16.keypoints)


def head_points(joints: Tensor, frames: BodyFrames, size: Tensor) -> dict[str, Tensor]:
    """The points of the head.

    Args:
        joints: `(P, 22, 3)` metres.
        frames: of the bodies.
        size: `(P,)`: size of the head over the nominal one.

    Returns:
        `(P, 3)` metres by name, in the frame of the joints.
    """
    return {
        name: joints[:, JOINTS["head"]] + (frames.head @ joints.new_tensor(point)) * size[:, None]
        for name, point in HEAD_POINTS.items()
    }


def _limbs(joints: Tensor, frames: BodyFrames, scale: Tensor) -> dict[str, Tensor]:
    points = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for part in ("shoulder", "elbow", "wrist", "knee", "ankle"):
            points[f"{side} {part}"] = joints[:, JOINTS[f"{side}_{part}"]]
        offset = frames.pelvis @ joints.new_tensor([sign * 0.02, 0.04, 0.0])
        points[f"{side} hip"] = joints[:, JOINTS[f"{side}_hip"]] + offset * scale[:, None]
    return points


def coco17_points(joints: Tensor, frames: BodyFrames, scale: Tensor, head_size: Tensor) -> Tensor:
    """`(P, 17, 3)` metres in COCO's order, in the frame of the joints; arguments as `head_points`, `scale`
    `(P,)` is the stature over the nominal one."""
    points = _limbs(joints, frames, scale) | head_points(joints, frames, head_size)
    return torch.stack([points[name] for name in COCO17.keypoints], dim=1)


def mpii16_points(joints: Tensor, frames: BodyFrames, scale: Tensor, head_size: Tensor) -> Tensor:
    """`(P, 16, 3)` metres in MPII's order; arguments as `coco17_points`."""
    points = _limbs(joints, frames, scale) | head_points(joints, frames, head_size)
    points["pelvis"] = (points["left hip"] + points["right hip"]) / 2
    middle = (points["left shoulder"] + points["right shoulder"]) / 2
    points["thorax"] = middle + frames.chest[..., 1] * 0.03 * scale[:, None]
    return torch.stack([points[name] for name in MPII16.keypoints], dim=1)
