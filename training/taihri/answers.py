# SPDX-License-Identifier: Apache-2.0
"""Answers in blocks of bins as token ids: written from numbers, and read back.

Questions do not belong here, nor does what the numbers mean in pixels and metres: see `frames`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgepose.bundle import BinCodecSpec

__all__ = ["AnswerFormat", "ReadAnswer", "WrittenAnswer"]

_NONE = math.nan
"""Stands for the number of a token that is none."""


@dataclass(frozen=True, slots=True)
class WrittenAnswer:
    """The tokens of an answer, with the numbers they stand for before rounding."""

    ids: tuple[int, ...]
    shares: tuple[float, ...]
    """For each token the share of its range, 0 to 1; NaN for tokens that are no numbers."""


@dataclass(slots=True)
class ReadAnswer:
    """What an answer says."""

    box: tuple[float, ...] = ()
    """Shares x0, y0, x1, y1; empty without a box."""
    xy: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """Place of a joint in the codec to its shares of the frame."""
    xyz: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """Place of a joint in the codec to its shares of the ranges."""
    whole: bool = False
    """Whether the answer keeps to the form to its end: each block once, the same joints in both."""


class AnswerFormat:
    """The form of a codec's answers: box, 2-D block, 3-D block, without blanks and commas.

    Source: TAIHRI's output grammar, in its most compact setting; bins are rounded to, `share * (bins - 1)`.
    """

    def __init__(self, spec: BinCodecSpec) -> None:
        self.spec = spec
        self.joints = tuple(spec.joints.values())
        """Token of each joint, in the order of the codec."""
        self._bins = {token: number for number, token in enumerate(spec.bins)}
        self._places = {token: place for place, token in enumerate(self.joints)}

    def write(
        self,
        box: Sequence[float],
        joints: Sequence[int],
        xy: Mapping[int, Sequence[float]] | Sequence[Sequence[float]],
        xyz: Mapping[int, Sequence[float]] | Sequence[Sequence[float]],
    ) -> WrittenAnswer:
        """Writes an answer.

        Args:
            box: Shares x0, y0, x1, y1 of the frame, each 0 to 1.
            joints: Places in the codec's list of joints, in the order of the answer.
            xy: By place, two shares of the frame, each 0 to 1.
            xyz: By place, three shares of the ranges, each 0 to 1.
        """
        marker = self.spec.markers
        tokens: list[tuple[int, float]] = [(marker["box_start"], _NONE), *self._numbers(box)]
        tokens.append((marker["box_end"], _NONE))
        for block, numbers in (("kpt2d", xy), ("kpt3d", xyz)):
            tokens.append((marker[f"{block}_start"], _NONE))
            for joint in joints:
                tokens += [(self.joints[joint], _NONE), *self._numbers(numbers[joint])]
            tokens.append((marker[f"{block}_end"], _NONE))
        tokens.append((self.spec.end, _NONE))
        ids, shares = zip(*tokens, strict=True)
        return WrittenAnswer(ids, shares)

    def places(self, joints: Sequence[int]) -> list[int | None]:
        """The form of an answer for these joints: each token's id, None for a number that is free."""
        numbers = dict.fromkeys(joints, (0.0, 0.0))
        deep = dict.fromkeys(joints, (0.0, 0.0, 0.0))
        written = self.write((0.0,) * 4, joints, numbers, deep)
        return [
            token if math.isnan(share) else None
            for token, share in zip(written.ids, written.shares, strict=True)
        ]

    def read(self, ids: Sequence[int]) -> ReadAnswer:
        """Reads tokens up to the first that does not fit the form; what stands before it counts."""
        read, reader = ReadAnswer(), _Reader(ids)
        marker = self.spec.markers
        if not reader.take(marker["box_start"]):
            return read
        box = self._read_numbers(reader, 4)
        if box is None or not reader.take(marker["box_end"]):
            return read
        read.box = box
        for block, found, count in (("kpt2d", read.xy, 2), ("kpt3d", read.xyz, 3)):
            if not reader.take(marker[f"{block}_start"]):
                return read
            while not reader.take(marker[f"{block}_end"]):
                joint = reader.take_one_of(self._places)
                numbers = self._read_numbers(reader, count)
                if joint is None or numbers is None or joint in found:
                    return read
                found[joint] = numbers
        ends = reader.take(self.spec.end) and reader.at_end
        read.whole = bool(ends and list(read.xy) == list(read.xyz))
        return read

    def _numbers(self, shares: Sequence[float]) -> list[tuple[int, float]]:
        last = len(self.spec.bins) - 1
        return [(self.spec.bins[round(share * last)], float(share)) for share in shares]

    def _read_numbers(self, reader: _Reader, count: int) -> tuple[float, ...] | None:
        last = len(self.spec.bins) - 1
        found = [reader.take_one_of(self._bins) for _ in range(count)]
        return None if None in found else tuple(number / last for number in found if number is not None)


class _Reader:
    """Walks along tokens."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self._next = 0

    @property
    def at_end(self) -> bool:
        """Whether no token is left."""
        return self._next == len(self._ids)

    def take(self, token: int) -> bool:
        """Steps over a token if it comes next."""
        fits = not self.at_end and self._ids[self._next] == token
        self._next += fits
        return fits

    def take_one_of(self, tokens: Mapping[int, int]) -> int | None:
        """Steps over a token if it comes next, and tells what it stands for."""
        found = None if self.at_end else tokens.get(self._ids[self._next])
        self._next += found is not None
        return found
