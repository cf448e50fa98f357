# SPDX-License-Identifier: Apache-2.0
"""Solids of the trunk: hips, waist, chest, shoulders, neck, skirt.

Arms, legs and the head do not belong here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.frames_of_body import BodyFrames
from edgepose.training.rendering.people import Looks
from edgepose.training.rendering.solids import BOTTOM, OTHER, SKIN, TOP, TRUNK, Solids

__all__ = ["add_trunk"]


def add_trunk(solids: Solids, joints: Tensor, frames: BodyFrames, looks: Looks) -> None:
    def at(name: str) -> Tensor:
        return joints[:, JOINTS[name]]

    s = looks.scale
    g = looks.girth[:, 0] * s
    bust, belly, hips, shoulders = looks.shape.unbind(1)
    pelvis, chest = frames.pelvis, frames.chest
    up, front, across = pelvis[..., 1], pelvis[..., 2], pelvis[..., 0]
    width = (at("left_hip") - at("right_hip")).norm(dim=1) / (0.172 * s)
    waist = frames.mid_hip + up * (0.13 * s)[:, None]

    low = frames.mid_hip + up * (0.015 * s)[:, None]
    hem = looks.hem * 0.12 * s
    wide = (1.32 + 0.22 * hips) * width.clamp(0.85, 1.15)
    solids.add(
        low,
        waist,
        front,
        (0.108 * g, 0.098 * g),
        stretch=(wide, 1.04 + 0.1 * belly),
        kinds=(BOTTOM, TOP),
        cut=hem - 0.015 * s,
        part=TRUNK,
    )
    middle = at("spine2")
    solids.add(
        at("pelvis"),
        middle,
        front,
        (0.098 * g, 0.102 * g),
        stretch=(1.36, 1.02),
        kinds=(TOP, TOP),
        part=TRUNK,
    )
    top = at("spine3") + (at("neck") - at("spine3")) * 0.35
    broad = 1.40 + 0.16 * shoulders
    bare = torch.where(looks.sleeves < 0.1, 0.16 * s, 0.21 * s + 0.05 * s * (1 - looks.face[:, 2]))
    solids.add(
        middle,
        top,
        chest[..., 2],
        (0.103 * g, 0.088 * g),
        stretch=(broad, 1.04),
        kinds=(TOP, SKIN),
        cut=bare,
        part=TRUNK,
    )
    span = at("left_shoulder") - at("right_shoulder")
    solids.add(
        at("right_shoulder") + span * 0.06,
        at("left_shoulder") - span * 0.06,
        chest[..., 2],
        (0.056 * g, 0.056 * g),
        stretch=(1.05, 1.15),
        kinds=(TOP, TOP),
        part=TRUNK,
    )
    for name in ("left", "right"):
        shoulder = at(f"{name}_shoulder")
        root = at("neck") + (at("head") - at("neck")) * 0.3
        solids.add(
            root,
            shoulder + (root - shoulder) * 0.18,
            chest[..., 2],
            (0.040 * g, 0.046 * g),
            stretch=(1.0, 1.1),
            kinds=(SKIN, TOP),
            cut=(0.035 + 0.05 * looks.face[:, 2]) * s,
            part=TRUNK,
        )
        sign = 1.0 if name == "left" else -1.0
        point = at("spine3") - chest[..., 1] * (0.02 * s)[:, None] + chest[..., 2] * (0.075 * g)[:, None]
        point = point + chest[..., 0] * (sign * 0.07 * g)[:, None]
        size = (0.052 + 0.018 * bust) * g
        solids.add(
            point,
            point - chest[..., 1] * (0.02 * s)[:, None],
            chest[..., 2],
            (size, size * 1.05),
            kinds=(TOP, TOP),
            part=TRUNK,
            on=bust > 0.15,
        )
        seat = frames.mid_hip + across * (sign * 0.06 * g)[:, None] - front * (0.045 * g)[:, None]
        solids.add(
            seat,
            seat - up * (0.04 * s)[:, None],
            front,
            (0.088 * g, 0.082 * g),
            kinds=(BOTTOM, BOTTOM),
            part=TRUNK,
        )
    round_ = frames.mid_hip + up * (0.16 * s)[:, None] + front * (0.04 * g)[:, None]
    solids.add(
        round_,
        round_ - up * (0.05 * s)[:, None],
        front,
        (0.10 * g, 0.105 * g),
        stretch=(1.15, 1.0),
        kinds=(TOP, TOP),
        part=TRUNK,
        on=belly > 0.25,
    )
    thick = looks.girth[:, 3] * s
    solids.add(
        at("neck") - chest[..., 1] * (0.03 * s)[:, None],
        at("head") + frames.head[..., 1] * (0.03 * s)[:, None],
        chest[..., 2],
        (0.060 * thick, 0.053 * thick),
        part=OTHER,
    )
    for name in ("left", "right"):
        thigh = at(f"{name}_knee") - at(f"{name}_hip")
        start = at(f"{name}_hip") + (frames.mid_hip - at(f"{name}_hip")) * 0.3 + up * (0.03 * s)[:, None]
        solids.add(
            start,
            start + thigh * looks.skirt[:, None],
            front,
            (0.108 * g, (0.098 + 0.03 * looks.skirt) * g),
            stretch=(1.15, 1.05),
            kinds=(BOTTOM, BOTTOM),
            part=OTHER,
            on=looks.skirt > 0,
        )
