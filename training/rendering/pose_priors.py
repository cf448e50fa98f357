# SPDX-License-Identifier: Apache-2.0
"""Poses drawn within the limits of human joints: standing, walking, sitting, crouching, reaching, arms up.

Recorded poses and the lengths of bones do not belong here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.vectors import rotation, unit

__all__ = ["draw_directions"]

_DEGREE = math.pi / 180

_LEGS = ("stand", "stride", "sit", "crouch", "kick", "kneel")
_LEG_WEIGHTS = (0.34, 0.26, 0.14, 0.08, 0.12, 0.06)
_ARMS = ("hang", "any", "reach", "up", "bent", "out")
_ARM_WEIGHTS = (0.22, 0.22, 0.2, 0.12, 0.14, 0.1)

# (flexion, abduction, knee) ranges in degrees of each way to hold a leg.
_LEG_SPANS = torch.tensor(
    [
        [(-8, 12), (-2, 14), (0, 18)],
        [(-28, 45), (-4, 16), (0, 75)],
        [(62, 105), (-4, 28), (50, 115)],
        [(45, 125), (0, 38), (70, 145)],
        [(-35, 110), (-8, 65), (0, 120)],
        [(-5, 75), (-4, 22), (75, 150)],
    ],
    dtype=torch.float32,
)
# (elevation over the horizontal, azimuth from the front outwards, elbow) ranges in degrees.
_ARM_SPANS = torch.tensor(
    [
        [(-90, -62), (-20, 120), (0, 45)],
        [(-85, 85), (-40, 115), (0, 140)],
        [(-35, 25), (-22, 40), (0, 50)],
        [(25, 88), (-10, 110), (0, 110)],
        [(-85, -40), (-20, 110), (50, 140)],
        [(-30, 30), (55, 112), (0, 70)],
    ],
    dtype=torch.float32,
)


def _spans(draws: Draws, table: Tensor, kinds: Tensor) -> Tensor:
    """One angle from each range of each kind, `(..., 3)` radians."""
    span = table.to(kinds.device)[kinds]
    return (span[..., 0] + draws.uniform(span.shape[:-1]) * (span[..., 1] - span[..., 0])) * _DEGREE


def _arm(draws: Draws, count: int, kinds: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """Upper arm and forearm in the frame of the chest; `side` is 1 for the left arm, -1 for the right."""
    elevation, azimuth, bend = _spans(draws, _ARM_SPANS, kinds).unbind(-1)
    flat = elevation.cos()
    upper = torch.stack([side * flat * azimuth.sin(), elevation.sin(), flat * azimuth.cos()], dim=-1)
    # The forearm bends forwards, upwards and inwards; the upper arm's own twist turns that plane.
    inward = upper.new_tensor([-side * 0.35, 0.45, 0.8])
    across = unit(inward - (inward * upper).sum(-1, keepdim=True) * upper)
    binormal = torch.linalg.cross(upper, across)
    twist = draws.normal((count,), 35 * _DEGREE)[:, None]
    across = across * twist.cos() + binormal * twist.sin()
    return upper, upper * bend.cos()[:, None] + across * bend.sin()[:, None]


def _leg(draws: Draws, count: int, kinds: Tensor, side: float) -> tuple[Tensor, Tensor, Tensor]:
    """Thigh, shin and foot in the frame of the pelvis."""
    flexion, abduction, knee = _spans(draws, _LEG_SPANS, kinds).unbind(-1)
    hip = rotation(2, side * abduction) @ rotation(0, -flexion)
    hip = hip @ rotation(1, side * draws.normal((count,), 14 * _DEGREE))
    shin = hip @ rotation(0, knee)
    ankle = shin @ rotation(0, (22 + draws.normal((count,), 14)) * _DEGREE)
    ankle = ankle @ rotation(1, side * (8 + draws.normal((count,), 9)) * _DEGREE)
    return -hip[..., 1], -shin[..., 1], ankle[..., 2]


def draw_directions(draws: Draws, count: int) -> Tensor:
    """Bones of plausible poses.

    Args:
        draws: where random numbers come from.
        count: how many poses.

    Returns:
        `(count, 22, 3)` float32 unit vectors from parent to joint, frame of the body: x to its left, y up,
        z to its front; zero for the pelvis.

    Source:
        Ranges of motion as anatomy books give them, narrowed to what people do.
    """
    bones = torch.zeros(count, 22, 3, device=draws.device)

    def put(name: str, vectors: Tensor) -> None:
        bones[:, JOINTS[name]] = vectors

    legs = draws.choice((count,), _LEG_WEIGHTS)
    other = torch.where(draws.chance((count,), 0.75), legs, draws.choice((count,), _LEG_WEIGHTS))
    folded = (legs >= _LEGS.index("sit")) & (legs <= _LEGS.index("crouch"))

    lean = (
        draws.normal((count,), 9)
        + draws.chance((count,), 0.18) * draws.uniform((count,), (0, 55))
        + folded * 8
    )
    bend, sideways, twist = (
        lean * _DEGREE,
        draws.normal((count,), 6 * _DEGREE),
        draws.normal((count,), 11 * _DEGREE),
    )
    root = rotation(0, lean * 0.35 * _DEGREE) @ rotation(2, sideways * 0.5)
    turn = rotation(0, bend / 3) @ rotation(2, sideways / 3) @ rotation(1, twist / 3)
    spine = root
    for joint in ("spine1", "spine2", "spine3"):
        put(joint, spine[..., 1])
        spine = spine @ turn
    chest = spine

    neck = chest @ rotation(0, draws.normal((count,), 7 * _DEGREE) - bend * 0.1)
    put("neck", neck[..., 1])
    head = (
        neck
        @ rotation(0, (14 + draws.normal((count,), 12)) * _DEGREE)
        @ rotation(2, draws.normal((count,), 8 * _DEGREE))
    )
    put("head", head[..., 1])

    pairs = draws.choice((count,), _ARM_WEIGHTS)
    single = draws.choice((count,), _ARM_WEIGHTS)
    both = draws.chance((count,), 0.5)
    first_side = draws.chance((count,), 0.5)
    hang = torch.zeros_like(pairs)
    for side, name in ((1.0, "left"), (-1.0, "right")):
        lifted = first_side if side > 0 else ~first_side
        kinds = torch.where(both, pairs, torch.where(lifted, single, torch.where(single > 2, hang, pairs)))
        upper, forearm = _arm(draws, count, kinds, side)
        raised = upper[:, 1:2].clamp(min=-0.2) * 0.5
        collar = unit(
            torch.cat([side * torch.ones_like(raised), 0.45 + raised, 0.05 + 0.1 * upper[:, 2:3]], dim=1)
        )
        put(f"{name}_collar", (chest @ collar[..., None])[..., 0])
        put(f"{name}_shoulder", (chest @ collar[..., None])[..., 0])
        put(f"{name}_elbow", (chest @ upper[..., None])[..., 0])
        put(f"{name}_wrist", (chest @ forearm[..., None])[..., 0])

        hip = root.new_tensor([side * 0.66, -0.75, 0.0])
        put(f"{name}_hip", root @ hip)
        thigh, shin, foot = _leg(draws, count, legs if side > 0 else other, side)
        upright = rotation(0, lean * 0.35 * _DEGREE * 0.3)
        for joint, vector in (("knee", thigh), ("ankle", shin), ("foot", foot)):
            put(f"{name}_{joint}", (upright @ vector[..., None])[..., 0])
    return torch.nn.functional.normalize(bones, dim=-1, eps=1e-9)
