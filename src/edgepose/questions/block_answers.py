# SPDX-License-Identifier: Apache-2.0
"""From an answer in blocks to shares of the coordinate ranges, by the form's tokens or by its text.

What the shares mean in pixels and metres does not belong here: see `edgepose.questions.frame_questions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from edgepose._core import Answer, BinCodec, BlockCodec, Number
from edgepose.block_text import BinText, read_blocks
from edgepose.keypoints import canonical_name

__all__ = ["JointAnswer", "PersonAnswer", "Share", "read_form", "read_text"]


@dataclass(frozen=True, slots=True)
class Share:
    """One number of an answer as a share of its range, 0 to 1."""

    value: float
    expected: float = math.nan
    """Expectation under the distribution over bins; NaN where the number is not one token."""
    deviation: float = math.nan
    """Standard deviation of that distribution, rounding to bins included; NaN likewise."""

    @property
    def inside(self) -> bool:
        """Whether the number is neither the first nor the last that can be written."""
        return 0 < self.value < 1


@dataclass(frozen=True, slots=True)
class JointAnswer:
    """What an answer says about one joint."""

    name: str
    xy: tuple[Share, ...]
    """Two shares of the frame's width and height, or none."""
    xyz: tuple[Share, ...]
    """Three shares of the metric ranges, or none."""
    confidence: float
    """Geometric mean of the numbers' probabilities, 0 to 1; NaN where a number is not one token."""


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """What an answer says."""

    box: tuple[Share, ...]
    """x0, y0, x1, y1 as shares of the frame, or none."""
    joints: tuple[JointAnswer, ...]
    """In the order in which they are mentioned first."""


def read_form(answer: Answer, codec: BlockCodec, names: Sequence[str]) -> PersonAnswer:
    """Read an answer token by token.

    Args:
        answer: tokens and choices.
        codec: which tokens mean what.
        names: of the codec's joints, in its order.
    """
    read = codec.read(answer)
    joints = tuple(
        JointAnswer(names[point.joint], _shares(point.xy), _shares(point.xyz), point.probability)
        for point in read.points
    )
    return PersonAnswer(_shares(read.box), joints)


def read_text(
    pieces: Sequence[bytes], answer: Answer, numbers: BinCodec, bins: frozenset[int], names: Sequence[str]
) -> PersonAnswer:
    """Read an answer's text, whatever its form; see `edgepose.block_text.read_blocks`.

    Args:
        pieces: bytes of each token.
        answer: tokens and choices.
        numbers: the bins over [0, 1].
        bins: token ids of the bins.
        names: joints in the spelling of the bundle; others come back as they are written.
    """
    found = read_blocks(pieces)

    def share(number: BinText) -> Share:
        last = numbers.count - 1
        choice = None if number.token is None else answer.choices[number.token]
        if choice is None or choice.token not in bins:
            return Share(min(number.bin, last) / last)
        read = numbers.read(choice)
        return Share(read.value, read.expected, read.deviation)

    def confidence(entries: Sequence[BinText]) -> float:
        sure = [0.0 if e.token is None else answer.choices[e.token].share for e in entries]
        return geometric_mean(sure) if sure and all(sure) else math.nan

    joints = []
    for written in dict.fromkeys((*found.places[2], *found.places[3])):
        entries = [found.places[count].get(written, ()) for count in (2, 3)]
        xy, xyz = (tuple(share(number) for number in entry) for entry in entries)
        spelling = canonical_name(written, names) or written
        joints.append(JointAnswer(spelling, xy, xyz, confidence([*entries[0], *entries[1]])))
    return PersonAnswer(tuple(share(number) for number in found.box), tuple(joints))


def _shares(numbers: Sequence[Number]) -> tuple[Share, ...]:
    return tuple(Share(number.value, number.expected, number.deviation) for number in numbers)
