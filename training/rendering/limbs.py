# SPDX-License-Identifier: Apache-2.0
"""Solids of arms and legs, hands and shoes, sleeves and trousers.

The trunk does not belong here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.frames_of_body import BodyFrames
from edgepose.training.rendering.people import Looks
from edgepose.training.rendering.solids import BOTTOM, SHOES, SKIN, SOCKS, TOP, Solids
from edgepose.training.rendering.vectors import frame_along, unit

__all__ = ["add_arm", "add_leg"]


def add_arm(solids: Solids, joints: Tensor, frames: BodyFrames, looks: Looks, name: str, side: int) -> None:
    shoulder, elbow, wrist = (joints[:, JOINTS[f"{name}_{part}"]] for part in ("shoulder", "elbow", "wrist"))
    s, g = looks.scale, looks.girth[:, 1] * looks.scale
    front = frames.chest[..., 2]
    upper, fore = (elbow - shoulder).norm(dim=1), (wrist - elbow).norm(dim=1)
    sleeve, loose = looks.sleeves, looks.loose[:, 0]
    covered = sleeve > 0.1
    solids.add(
        shoulder,
        shoulder + (elbow - shoulder) * 0.2,
        front,
        (0.058 * g, 0.052 * g),
        kinds=(TOP, SKIN),
        cut=torch.where(covered, 1.0, -1.0),
    )
    solids.add(
        shoulder,
        elbow,
        front,
        (0.050 * g, 0.040 * g),
        kinds=(TOP, SKIN),
        cut=(sleeve * upper).where(covered, -1 + 0 * s),
    )
    solids.add(
        elbow,
        elbow + (wrist - elbow) * 0.4,
        front,
        (0.039 * g, 0.041 * g),
        kinds=(TOP, SKIN),
        cut=(sleeve - 1) * fore,
    )
    solids.add(
        elbow + (wrist - elbow) * 0.3,
        wrist,
        front,
        (0.040 * g, 0.028 * g),
        kinds=(TOP, SKIN),
        cut=(sleeve - 1.3) * fore,
    )
    # Loose cloth hangs around the arm as far as the sleeve goes.
    reach = shoulder + (elbow - shoulder) * sleeve.clamp(0.2, 0.95)[:, None]
    solids.add(
        shoulder + (elbow - shoulder) * 0.08,
        reach,
        front,
        (0.054 * g, 0.048 * g * loose),
        kinds=(TOP, TOP),
        on=covered & (loose > 1.08),
    )
    reach = elbow + (wrist - elbow) * (sleeve - 1).clamp(0.1, 0.9)[:, None]
    solids.add(
        elbow,
        reach,
        front,
        (0.044 * g * loose, 0.036 * g * loose),
        kinds=(TOP, TOP),
        on=(sleeve > 1.5) & (loose > 1.08),
    )
    # The hand: its flat side turns about the forearm, its fingers bend towards the palm.
    along = unit(wrist - elbow)
    base = frame_along(along, frames.chest[..., 0])
    twist = looks.thumb[:, side]
    palm = base[..., 2] * twist.cos()[:, None] + base[..., 0] * twist.sin()[:, None]
    edge = torch.linalg.cross(along, palm)
    knuckles = wrist + along * (0.085 * s)[:, None]
    solids.add(
        wrist + along * (0.02 * s)[:, None], knuckles, palm, (0.031 * g, 0.040 * g), stretch=(1.0, 0.5)
    )
    bend = looks.curl[:, side] * 0.7
    fingers = along * bend.cos()[:, None] + palm * bend.sin()[:, None]
    solids.add(
        knuckles, knuckles + fingers * (0.075 * s)[:, None], palm, (0.036 * g, 0.024 * g), stretch=(1.0, 0.45)
    )
    thumb = edge * (1.0 if side == 0 else -1.0)
    root = wrist + along * (0.025 * s)[:, None] + thumb * (0.02 * s)[:, None]
    solids.add(root, root + unit(along + thumb * 0.7) * (0.065 * s)[:, None], palm, (0.017 * g, 0.012 * g))


def add_leg(solids: Solids, joints: Tensor, frames: BodyFrames, looks: Looks, name: str, sign: float) -> None:
    hip, knee, ankle, foot = (
        joints[:, JOINTS[f"{name}_{part}"]] for part in ("hip", "knee", "ankle", "foot")
    )
    s, g = looks.scale, looks.girth[:, 2] * looks.scale
    loose, end = looks.loose[:, 1], looks.legs
    front = frames.pelvis[..., 2]
    thigh, shin = (knee - hip).norm(dim=1), (ankle - knee).norm(dim=1)
    toes = foot - ankle
    down = unit(ankle - knee)
    forward = unit(toes - (toes * down).sum(1, keepdim=True) * down)
    outside = frames.pelvis[..., 0] * (sign * 0.012 * s)[:, None]
    solids.add(hip + outside, knee, front, (0.090 * g, 0.057 * g), kinds=(BOTTOM, SKIN), cut=end * thigh)
    solids.add(knee, ankle, forward, (0.054 * g, 0.036 * g), kinds=(BOTTOM, SKIN), cut=(end - 1) * shin)
    calf = knee + (ankle - knee) * 0.16 - forward * (0.014 * g)[:, None]
    solids.add(
        calf,
        calf + (ankle - knee) * 0.24,
        forward,
        (0.050 * g, 0.046 * g),
        kinds=(BOTTOM, SKIN),
        cut=(end - 1.16) * shin,
    )
    covered = end > 0.35
    reach = hip + (knee - hip) * end.clamp(0.2, 0.96)[:, None]
    solids.add(
        hip + outside,
        reach,
        front,
        (0.092 * g, (0.092 - 0.03 * end.clamp(max=1)) * g * loose),
        kinds=(BOTTOM, BOTTOM),
        on=covered & (loose > 1.06),
    )
    reach = knee + (ankle - knee) * (end - 1).clamp(0.1, 0.95)[:, None]
    solids.add(
        knee,
        reach,
        forward,
        (0.060 * g * loose.sqrt(), 0.047 * g * loose),
        kinds=(BOTTOM, BOTTOM),
        on=(end > 1.5) & (loose > 1.06),
    )
    # The shoe: sole below the ankle, heel behind it, toes beyond the ball of the foot.
    sole = unit(toes)
    below = torch.linalg.cross(torch.linalg.cross(sole, down), sole)
    heel = ankle + below * (0.045 * s)[:, None] - sole * (0.035 * s)[:, None]
    tip = foot + sole * (0.045 * s)[:, None]
    solids.add(ankle, heel, forward, (0.036 * g, 0.038 * s), kinds=(SOCKS, SHOES), cut=0.012 * s)
    solids.add(heel, tip, below, (0.037 * s, 0.030 * s), stretch=(1.12, 0.8), kinds=(SHOES, SHOES))
    instep = ankle + sole * (0.02 * s)[:, None]
    solids.add(instep, foot, below, (0.037 * s, 0.034 * s), stretch=(1.1, 0.9), kinds=(SHOES, SHOES))
