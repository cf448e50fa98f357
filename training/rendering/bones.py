# SPDX-License-Identifier: Apache-2.0
"""The 22 joints as a tree of bones: nominal lengths, directions from joints and joints from directions.

Flesh, clothes and poses do not belong here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.skeleton import SMPL22

__all__ = ["JOINTS", "LENGTHS", "MIRRORED", "PARENTS", "STATURE", "directions_of", "joints_of"]

PARENTS: tuple[int, ...] = SMPL22.parents
JOINTS: dict[str, int] = {name: place for place, name in enumerate(SMPL22.keypoints)}
"""Place of each joint in SMPL's order."""

_BY_NAME = {
    "hip": 0.130,
    "spine1": 0.115,
    "spine2": 0.120,
    "spine3": 0.120,
    "knee": 0.405,
    "ankle": 0.415,
    "foot": 0.135,
    "neck": 0.105,
    "collar": 0.050,
    "shoulder": 0.145,
    "head": 0.115,
    "elbow": 0.275,
    "wrist": 0.250,
    "pelvis": 0.0,
}

LENGTHS: tuple[float, ...] = tuple(_BY_NAME[name.split("_")[-1]] for name in SMPL22.keypoints)
"""Metres from each joint's parent to the joint, of a body of `STATURE`. Between the trunk of the motion
capture's skeletons and the limbs of SMPL's mean body."""

STATURE = 1.76
"""Metres from sole to crown of a body with these lengths."""


def _mirrored(name: str) -> str:
    side, _, part = name.partition("_")
    return {"left": "right_" + part, "right": "left_" + part}.get(side, name)


MIRRORED: tuple[int, ...] = tuple(JOINTS[_mirrored(name)] for name in SMPL22.keypoints)
"""For each joint its mirror image: left and right change places."""


def directions_of(joints: Tensor) -> Tensor:
    """Unit vectors along the bones.

    Args:
        joints: `(..., 22, 3)`.

    Returns:
        `(..., 22, 3)`, from each joint's parent to the joint; zero for the pelvis.
    """
    parents = torch.tensor([max(parent, 0) for parent in PARENTS], device=joints.device)
    return torch.nn.functional.normalize(joints - joints.index_select(-2, parents), dim=-1, eps=1e-9)


def joints_of(directions: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Joints of bones that hang together, pelvis at the origin.

    Args:
        directions: `(..., 22, 3)` as `directions_of` gives.
        lengths: `(..., 22)` metres; None for the nominal ones.

    Returns:
        `(..., 22, 3)` metres.
    """
    if lengths is None:
        lengths = torch.tensor(LENGTHS, dtype=directions.dtype, device=directions.device)
    bones = directions * lengths[..., None]
    placed: list[Tensor] = []
    for joint, parent in enumerate(PARENTS):
        placed.append(
            bones[..., joint, :] + placed[parent] if parent >= 0 else torch.zeros_like(bones[..., 0, :])
        )
    return torch.stack(placed, dim=-2)
