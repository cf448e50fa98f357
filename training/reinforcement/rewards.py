# SPDX-License-Identifier: Apache-2.0
"""What an answer is worth: near joints in the image and in space, the right form, the right choice of joints.

Sampling answers does not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepose.training.taihri.answers import ReadAnswer

__all__ = ["Rewards", "Truth", "rewards_of"]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a right answer says."""

    joints: tuple[int, ...]
    """Places in the codec's list of joints that belong into the answer."""
    xy: Sequence[Sequence[float]]
    """By place, two shares of the frame."""
    xyz: Sequence[Sequence[float]]
    """By place, three shares of the ranges."""
    size: tuple[float, float]
    """Width and height of the frame, pixels at the canonical focal length."""
    ranges: tuple[float, float, float]
    """Extents of x, y and z, metres."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """Weights and scales of the rewards, each of which is between 0 and 1 before it is weighed."""

    xy: float = 1.0
    xyz: float = 1.0
    form: float = 0.5
    joints: float = 0.5
    pixels: float = 8.0
    """Distance in the image at which a joint is worth 1/e, pixels at the canonical focal length."""
    metres: float = 0.1
    """Distance in space at which a joint is worth 1/e."""

    def total(self, parts: Mapping[str, float]) -> float:
        """Weighted sum of what `rewards_of` returns."""
        weights = {"xy": self.xy, "xyz": self.xyz, "form": self.form, "joints": self.joints}
        return sum(weights[name] * value for name, value in parts.items())


def rewards_of(read: ReadAnswer, truth: Truth, scales: Rewards) -> dict[str, float]:
    """The rewards of an answer, each between 0 and 1.

    Args:
        read: The answer.
        truth: The right one.
        scales: Distances that count as near.

    Returns:
        `xy` and `xyz`: mean over the joints that belong into the answer of `exp(-distance / scale)`, 0 for
        those that are missing. `form`: 1 if the answer keeps to its form to the end. `joints`: F1 of the
        joints that it names in both blocks.
    """
    xy = [_nearness(read.xy.get(joint), truth.xy[joint], truth.size, scales.pixels) for joint in truth.joints]
    xyz = [
        _nearness(read.xyz.get(joint), truth.xyz[joint], truth.ranges, scales.metres)
        for joint in truth.joints
    ]
    named = set(read.xy) & set(read.xyz)
    return {
        "xy": _mean(xy),
        "xyz": _mean(xyz),
        "form": float(read.whole),
        "joints": _f1(named, set(truth.joints)),
    }


def _nearness(
    found: Sequence[float] | None, right: Sequence[float], extent: Sequence[float], scale: float
) -> float:
    if found is None:
        return 0.0
    away = [(one - other) * whole for one, other, whole in zip(found, right, extent, strict=True)]
    return math.exp(-math.hypot(*away) / scale)


def _f1(found: set[int], right: set[int]) -> float:
    both = len(found & right)
    return 2 * both / (len(found) + len(right)) if both else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
