# SPDX-License-Identifier: Apache-2.0
"""What people look like: proportions, girths, skin, hair and clothes, drawn for many people at once.

Their poses, and the solids their bodies are made of, do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.training.rendering.bones import JOINTS, LENGTHS, STATURE
from edgepose.training.rendering.draws import Draws

__all__ = ["Looks", "People", "draw_looks"]


@dataclass(frozen=True, slots=True)
class People:
    """How much people differ. Shares are of the mean.

    Raises:
        InvalidInputError: a number is negative, or the stature is not that of a person.
    """

    stature: float = 1.70
    """Mean height from sole to crown, metres."""
    stature_spread: float = 0.03
    """Standard deviation of the height, share. What one image cannot tell: it bounds metric accuracy."""
    bone_spread: float = 0.03
    """Standard deviation of each kind of bone beside that, share."""
    girth_spread: float = 0.10
    """Standard deviation of the thickness of trunk and limbs, share."""

    def __post_init__(self) -> None:
        for name in ("stature_spread", "bone_spread", "girth_spread"):
            if not 0 <= getattr(self, name) <= 0.3:
                raise InvalidInputError(
                    f"[people] expected {name} from 0 to 0.3, as a share; got "
                    f"{getattr(self, name)!r}; 0.03 is 3 %"
                )
        if not 0.5 <= self.stature <= 2.5:
            raise InvalidInputError(
                f"[people] expected a stature in metres, 0.5 to 2.5; got {self.stature!r}; 1.70 is 170 cm"
            )


# Which bones vary together, left and right alike.
_KINDS = (
    ("left_hip", "right_hip"),
    ("spine1", "spine2", "spine3"),
    ("neck", "head"),
    ("left_collar", "right_collar", "left_shoulder", "right_shoulder"),
    ("left_elbow", "right_elbow"),
    ("left_wrist", "right_wrist"),
    ("left_knee", "right_knee"),
    ("left_ankle", "right_ankle"),
    ("left_foot", "right_foot"),
)


@dataclass(frozen=True, slots=True)
class Looks:
    """P people. `flag` tensors are float 0 or 1."""

    scale: Tensor
    """(P,): stature over the nominal one."""
    lengths: Tensor
    """(P, 22): metres."""
    girth: Tensor
    """(P, 4): factors on the thickness of trunk, arms, legs and head."""
    shape: Tensor
    """(P, 4): 0 to 1: bust, belly, width of the hips, breadth of the shoulders."""
    head: Tensor
    """(P, 3): yaw, pitch and roll of the head against the chest, radians."""
    sleeves: Tensor
    """(P,): end of the sleeves along the arm: 0 shoulder, 1 elbow, 2 wrist."""
    legs: Tensor
    """(P,): end of the trousers along the leg: 0 hip, 1 knee, 2 ankle."""
    loose: Tensor
    """(P, 2): factors on the girth of sleeves and trouser legs, from 1."""
    hem: Tensor
    """(P,): height of the hem of the shirt, 0 at the hip joints, 1 at the waist."""
    skirt: Tensor
    """(P,): length of the skirt as a share of the thigh; 0 for none."""
    hair: Tensor
    """(P, 4): volume on the head, length at the back (m), width at the back, brim of a cap (flag)."""
    front: Tensor
    """(P,) int64: 0 plain front, 1 a print on the chest, 2 an open jacket, 3 a tie."""
    face: Tensor
    """(P, 3): beard (0 to 1), glasses (flag), bare neckline (0 to 1)."""
    thumb: Tensor
    """(P, 2): twist of the left and the right hand, radians."""
    curl: Tensor
    """(P, 2): bend of the fingers, radians."""


def draw_looks(draws: Draws, count: int, people: People) -> Looks:
    """Draw `count` people."""
    scale = (people.stature / STATURE) * (1 + draws.normal((count,), people.stature_spread))
    lengths = torch.tensor(LENGTHS, device=draws.device).repeat(count, 1) * scale[:, None]
    kinds = 1 + draws.normal((count, len(_KINDS)), people.bone_spread)
    for kind, names in enumerate(_KINDS):
        lengths[:, [JOINTS[name] for name in names]] *= kinds[:, kind : kind + 1]
    mass = draws.normal((count, 1), people.girth_spread)
    girth = (mass + draws.normal((count, 4), people.girth_spread * 0.5) + 1).clamp(0.75, 1.4)
    girth[:, 3] = 1 + draws.normal((count,), 0.03)

    feminine = draws.uniform((count,))
    shape = torch.stack(
        [
            (feminine - 0.45).clamp(min=0) * 1.8 * draws.uniform((count,), (0.4, 1.0)),
            (mass[:, 0] * 3).clamp(0, 1) * draws.uniform((count,)),
            feminine,
            1 - feminine,
        ],
        dim=1,
    ).clamp(0, 1)

    sleeve = draws.choice((count,), (0.18, 0.42, 0.4))
    bare = torch.tensor([[0.0, 0.05], [0.35, 0.85], [1.75, 2.1]], device=draws.device)[sleeve]
    sleeves = bare[:, 0] + draws.uniform((count,)) * (bare[:, 1] - bare[:, 0])
    trouser = draws.choice((count,), (0.12, 0.3, 0.58))
    ends = torch.tensor([[0.1, 0.3], [0.45, 1.1], [1.8, 2.1]], device=draws.device)[trouser]
    legs = ends[:, 0] + draws.uniform((count,)) * (ends[:, 1] - ends[:, 0])
    skirted = (feminine > 0.6) & draws.chance((count,), 0.35)
    loose = 1 + draws.uniform((count, 2)) ** 2 * 0.4

    long_hair = draws.chance((count,), 0.15) | ((feminine > 0.5) & draws.chance((count,), 0.7))
    back = torch.where(
        long_hair, draws.uniform((count,), (0.04, 0.26)), torch.zeros(count, device=draws.device)
    )
    volume = torch.where(
        draws.chance((count,), 0.1) & ~long_hair,
        draws.uniform((count,), (-0.35, 0.0)),
        draws.uniform((count,), (0.5, 1.5)),
    )
    cap = draws.chance((count,), 0.14).float()
    hair = torch.stack(
        [
            torch.where(cap > 0, volume.clamp(0.6, 1.0), volume),
            back,
            draws.uniform((count,), (0.5, 1.0)),
            cap,
        ],
        1,
    )

    turned = torch.stack(
        [draws.normal((count,), 0.42), draws.normal((count,), 0.2) + 0.08, draws.normal((count,), 0.12)],
        dim=1,
    )
    face = torch.stack(
        [
            (1 - feminine).clamp(min=0) * draws.chance((count,), 0.4) * draws.uniform((count,), (0.3, 1)),
            draws.chance((count,), 0.15).float(),
            draws.uniform((count,)),
        ],
        dim=1,
    )
    return Looks(
        scale=scale,
        lengths=lengths,
        girth=girth,
        shape=shape,
        head=turned,
        sleeves=sleeves,
        legs=torch.where(skirted, torch.full_like(legs, 0.2), legs),
        loose=loose,
        hem=draws.uniform((count,), (-0.3, 1.1)),
        skirt=torch.where(skirted, draws.uniform((count,), (0.5, 1.3)), torch.zeros_like(legs)),
        hair=hair,
        front=draws.choice((count,), (0.5, 0.22, 0.2, 0.08)),
        face=face,
        thumb=draws.normal((count, 2), 0.7),
        curl=draws.uniform((count, 2), (0.0, 1.5)),
    )
