# SPDX-License-Identifier: Apache-2.0
"""What an answer may be, written out: a form says which tokens may come behind those that are there.

Nothing of the C++ grammar is used here: this is what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """What may come next."""

    allowed: tuple[int, ...]
    numbers: bool = False
    """Whether these stand for numbers."""


Form = Callable[[Sequence[int]], "Place | None"]
"""From the tokens of an answer to the next place; None behind the last. Not asked about other answers."""


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A sequence of places."""

    places: tuple[Place, ...]

    def __call__(self, answer: Sequence[int]) -> Place | None:
        return self.places[len(answer)] if len(answer) < len(self.places) else None


def digit_form(
    places: Sequence[int], *, open: int, point: int, comma: int, close: int, digits: Sequence[int]
) -> LinearForm:
    """` [0.ddd,0.ddd]`: numbers with this many digits behind the point."""
    form: list[Place] = []
    for count in places:
        form += [Place((comma if form else open,)), Place((digits[0],)), Place((point,))]
        form += [Place(tuple(digits), numbers=True)] * count
    return LinearForm((*form, Place((close,))))


@dataclass(frozen=True, slots=True)
class BlockForm:
    """A box, keypoints in the image, keypoints in space; of joints that are asked for or the model names."""

    bins: tuple[int, ...]
    joints: tuple[int, ...]
    markers: Mapping[str, int]
    end: int
    blocks: tuple[str, ...]
    separators: Mapping[str, Sequence[int]] = field(default_factory=dict)
    asked: tuple[int, ...] | None = None
    """Indices into `joints`; None: the model names them."""

    def __call__(self, answer: Sequence[int]) -> Place | None:
        reader = _Reader(answer)
        named = None if self.asked is None else [self.joints[joint] for joint in self.asked]
        try:
            for number, block in enumerate(self.blocks):
                reader.words(
                    [[*(self._gap("between_blocks") if number else []), self._marker(block, "start")]]
                )
                box = "box_" if block == "box" else ""
                reader.words([self._gap(f"after_{box}start")])
                close = [*self._gap(f"before_{box}end"), self._marker(block, "end")]
                if block == "box":
                    self._numbers(reader, 4, "between_box_numbers")
                    reader.words([close])
                else:
                    named = self._keypoints(reader, 2 if block == "kpt2d" else 3, close, named)
            reader.words([[*self._gap("after_blocks"), self.end]])
        except _Missing as missing:
            return missing.place
        return None

    def _gap(self, name: str) -> list[int]:
        return list(self.separators.get(name, ()))

    def _marker(self, block: str, end: str) -> int:
        return self.markers[f"{block}_{end}"]

    def _numbers(self, reader: _Reader, count: int, gap: str) -> None:
        for number in range(count):
            reader.words([self._gap(gap) if number else []])
            reader.next(Place(self.bins, numbers=True))

    def _keypoints(
        self, reader: _Reader, numbers: int, close: list[int], named: list[int] | None
    ) -> list[int]:
        """Read a block from its first joint to its end marker; returns the joints."""
        found: list[int] = []
        while True:
            gap = self._gap("between_joints") if found else []
            if named is None:
                names = [joint for joint in self.joints if joint not in found]
                word = reader.words([*([*gap, name] for name in names), close])
            else:
                name = named[len(found) : len(found) + 1]
                word = reader.words([[*gap, *name] if name else close])
            if word == close:
                return found
            found.append(word[-1])
            reader.words([self._gap("after_name")])
            self._numbers(reader, numbers, "between_numbers")


class _Missing(Exception):
    def __init__(self, place: Place) -> None:
        self.place = place


class _Reader:
    """Follows an answer that keeps to the form; raises `_Missing` where it stops."""

    def __init__(self, answer: Sequence[int]) -> None:
        self._rest = list(answer)

    def next(self, place: Place) -> int:
        if not self._rest:
            raise _Missing(place)
        return self._rest.pop(0)

    def words(self, words: list[list[int]]) -> list[int]:
        """The one of these sequences of tokens that comes next; none is the beginning of another."""
        at = 0
        while len(words) > 1 or at < len(words[0]):
            token = self.next(Place(tuple(dict.fromkeys(word[at] for word in words))))
            words = [word for word in words if word[at] == token]
            at += 1
        return words[0]
