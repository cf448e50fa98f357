# SPDX-License-Identifier: Apache-2.0
"""Bodies: all solids of many people from their joints and looks.

The solids of each part are in `trunk`, `limbs` and `head`; colours are in `materials` and `shading`.
"""

from __future__ import annotations

from torch import Tensor

from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.frames_of_body import BodyFrames
from edgepose.training.rendering.head import add_head
from edgepose.training.rendering.limbs import add_arm, add_leg
from edgepose.training.rendering.people import Looks
from edgepose.training.rendering.primitives import Cones
from edgepose.training.rendering.solids import Solids
from edgepose.training.rendering.trunk import add_trunk

__all__ = ["JOINT_RADII", "build_bodies"]

_RADII = {
    "pelvis": 0.13,
    "hip": 0.11,
    "spine1": 0.13,
    "spine2": 0.13,
    "spine3": 0.13,
    "knee": 0.062,
    "ankle": 0.05,
    "foot": 0.045,
    "neck": 0.075,
    "collar": 0.09,
    "head": 0.10,
    "shoulder": 0.075,
    "elbow": 0.045,
    "wrist": 0.035,
}

JOINT_RADII: tuple[float, ...] = tuple(_RADII[name.split("_")[-1]] for name in JOINTS)
"""Metres of flesh around each joint of the nominal body."""


def build_bodies(joints: Tensor, frames: BodyFrames, looks: Looks, image: Tensor, shown: Tensor) -> Cones:
    """Solids of P bodies.

    Args:
        joints: `(P, 22, 3)` metres, camera frame.
        frames: of these joints.
        looks: of the people.
        image: `(P,)` int64: in which image each person is.
        shown: `(P,)` bool: people who are there at all.
    """
    solids = Solids(len(joints), joints.device)
    add_trunk(solids, joints, frames, looks)
    for side, name in enumerate(("left", "right")):
        add_arm(solids, joints, frames, looks, name, side)
        add_leg(solids, joints, frames, looks, name, 1.0 - 2.0 * side)
    add_head(solids, joints, frames, looks)
    return solids.cones(image, shown)
