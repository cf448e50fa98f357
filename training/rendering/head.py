# SPDX-License-Identifier: Apache-2.0
"""Solids of the head: skull, jaw, nose, ears, hair, cap.

The face is painted on by `shading`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.training.rendering.bones import JOINTS
from edgepose.training.rendering.frames_of_body import BodyFrames
from edgepose.training.rendering.people import Looks
from edgepose.training.rendering.solids import CAP, FACE, HAIR, OTHER, Solids
from edgepose.training.rendering.vectors import unit

__all__ = ["add_head"]


def add_head(solids: Solids, joints: Tensor, frames: BodyFrames, looks: Looks) -> None:
    size = looks.scale * looks.girth[:, 3]
    axes = frames.head
    front, back = axes[..., 2], -axes[..., 2]
    volume, long_, wide, cap = looks.hair.unbind(1)

    def point(left: Tensor | float, up: Tensor | float, forward: Tensor | float) -> Tensor:
        spot = torch.stack([solids.full(left), solids.full(up), solids.full(forward)], 1)
        return joints[:, JOINTS["head"]] + (axes @ spot[..., None])[..., 0] * size[:, None]

    solids.add(
        point(0, 0.090, -0.004),
        point(0, 0.112, -0.006),
        front,
        (0.084 * size, 0.084 * size),
        stretch=(0.86, 1.07),
        part=FACE,
    )
    solids.add(
        point(0, 0.080, 0.024),
        point(0, 0.004, 0.058),
        front,
        (0.066 * size, 0.034 * size),
        stretch=(0.94, 1.0),
        part=FACE,
    )
    solids.add(
        point(0, 0.085, 0.090), point(0, 0.056, 0.103), front, (0.009 * size, 0.0155 * size), part=OTHER
    )
    for sign in (1.0, -1.0):
        solids.add(
            point(sign * 0.074, 0.085, 0.0),
            point(sign * 0.073, 0.060, 0.006),
            front,
            (0.021 * size, 0.015 * size),
            stretch=(0.5, 0.9),
            part=OTHER,
            on=long_ < 0.1,
        )
    grown = 0.006 + 0.012 * volume
    solids.add(
        point(0, 0.098, -0.016),
        point(0, 0.118 + 0.3 * grown, -0.018),
        front,
        ((0.082 + 0.6 * grown) * size, (0.080 + grown) * size),
        stretch=(0.89, 1.04),
        kinds=(HAIR, CAP),
        cut=torch.where(cap > 0, 0.0, 10.0),
        part=OTHER,
        on=volume > 0,
    )
    # Hair at the back: short tails stay at the nape, long ones fall over the shoulders' height.
    nape = point(0, 0.075, -0.045)
    fall = -frames.chest[..., 1] * 0.75 + back * 0.22 - axes[..., 1] * 0.25
    solids.add(
        nape,
        nape + unit(fall) * (long_ * looks.scale)[:, None],
        front,
        (0.062 * size, (0.028 + 0.034 * wide) * size),
        stretch=(1.15, 0.75),
        kinds=(HAIR, HAIR),
        part=OTHER,
        on=long_ > 0,
    )
    solids.add(
        point(0, 0.145, 0.062),
        point(0, 0.133, 0.115),
        axes[..., 1],
        (0.055 * size, 0.050 * size),
        stretch=(1.15, 0.15),
        kinds=(CAP, CAP),
        part=OTHER,
        on=cap > 0,
    )
