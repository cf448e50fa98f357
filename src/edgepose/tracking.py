# SPDX-License-Identifier: Apache-2.0
"""From one frame to the next: whose box is where, and which earlier answer is a draft for whom.

Running the model does not belong here, nor does reading frames: see `edgepose.localizer`, `edgepose.video`.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from edgepose.crop import SquareCrop
from edgepose.errors import InvalidInputError

if TYPE_CHECKING:
    from edgepose.questions import Inquiry
    from edgepose.results import Localization, Pose

__all__ = ["BoxesArgument", "Guesses", "Track", "carry"]

FrameBoxes: TypeAlias = "Sequence[Sequence[float] | SquareCrop] | None"
BoxesArgument: TypeAlias = (
    "FrameBoxes | Iterable[FrameBoxes] | Callable[[int, NDArray[np.uint8], Localization | None], FrameBoxes]"
)
"""What a user may pass as the boxes of a sequence: see `edgepose.Localizer.track`."""

_Rectangle: TypeAlias = tuple[float, float, float, float]
"""x, y, width, height, pixels of the image."""

_STILL = 0.75
"""Overlap (intersection over union) of the box a person has and the one the rule would give from which on the
box stays as it is. A person may move by a seventh of the box before it follows."""

_SPREAD = 0.25
"""Keypoints that span less than this share of their box, a wrist alone say, do not tell how large the person
is: then the box keeps its size."""

_SURE = 0.15
"""Keypoints whose standard deviation is a larger share of their box do not say where the person is."""

_SMALLEST = 4.0
"""Pixels of the image. A box that would be smaller, because the person left it for one, stays."""

_WHOLE = 1 << 30
"""More tokens than any answer has."""

_SAME = 0.2
"""Overlap of two crops from which on they may show the same person."""


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A box that was given, and the keypoints that were found in it then."""

    box: _Rectangle
    keypoints: _Rectangle


def carry(given: _Rectangle, found: _Rectangle, now: _Rectangle) -> _Rectangle:
    """The box for a frame whose keypoints span `now`, of a person who was given in another frame as a box.

    The box lies around the keypoints as the given one did: with the same margins on its four sides, in units
    of the longer side of what the keypoints span. Nothing adds up from frame to frame, since it is always the
    box that was given which is carried on, and who stands still keeps it. Where the keypoints span too little
    of it to tell a size (a single one spans nothing), the box keeps its size and moves with their middle.

    Args:
        given: the box that was given, (x, y, width, height), pixels.
        found: what the keypoints of that frame span, likewise; those that are valid, and sure: of a standard
            deviation of at most 15 % of their box.
        now: what such keypoints of this frame span, likewise.

    Returns:
        (x, y, width, height), pixels of the image; may reach beyond it.
    """
    if max(found[2:]) < _SPREAD * max(given[2:]):
        x, y = (given[k] + now[k] + now[k + 2] / 2 - found[k] - found[k + 2] / 2 for k in (0, 1))
        return x, y, given[2], given[3]
    scale = max(now[2:]) / max(found[2:])
    x, y = (now[k] + scale * (given[k] - found[k]) for k in (0, 1))
    width, height = (now[k] + scale * (given[k] - found[k]) for k in (2, 3))
    return x, y, width, height


@dataclass(frozen=True, slots=True)
class Guesses:
    """Drafts of the answers of one inquiry."""

    answers: Sequence[Sequence[int]] = ()
    """Token ids, one draft for each question; or no draft at all."""
    offers: Sequence[int] = ()
    """How many tokens of each the first pass is offered: as many as held in both of the last two frames,
    since those behind a difference are computed for nothing. None: all of them."""


@dataclass(frozen=True, slots=True)
class _Person:
    """Who was answered about in the last frame."""

    box: Sequence[float] | SquareCrop
    anchor: _Anchor | None
    crop: SquareCrop | None
    pose: Pose
    held: tuple[tuple[int, ...], ...]
    """Of the last two frames with drafts, how many tokens held, a number for each question."""

    def guesses(self, inquiry: Inquiry) -> Guesses:
        """Drafts for an inquiry about the same person."""
        answers = inquiry.draft(self.pose, self.crop)
        return Guesses(answers, [min(counts) for counts in zip(*self.held, strict=True)])

    def moved(self, width: int, height: int) -> Sequence[float] | SquareCrop:
        """Where to look for them in the next image, of this size."""
        now = _span(self.pose)
        if self.anchor is None or now is None:
            return self.box
        x, y, w, h = carry(self.anchor.box, self.anchor.keypoints, now)
        left, top = max(0.0, x), max(0.0, y)
        there = left, top, min(x + w, width) - left, min(y + h, height) - top
        if min(there[2:]) < _SMALLEST or _overlap(_rectangle(self.box), there) >= _STILL:
            return self.box
        return there


class Track:
    """What is known of the people in a sequence of frames.

    Args:
        boxes: as `edgepose.Localizer.track` takes them.

    Raises:
        InvalidInputError: `boxes` is none of these.
    """

    def __init__(self, boxes: BoxesArgument) -> None:
        self._given = _source(boxes)
        self._boxes: FrameBoxes = None
        self._carried = False
        self._people: list[_Person] = []
        self._paired: dict[int, _Person] = {}
        self._guesses: list[Guesses] = []
        self._last: Localization | None = None

    def find(self, number: int, pixels: NDArray[np.uint8]) -> FrameBoxes:
        """Boxes of frame `number`, `(H, W, 3)` uint8; None where none were ever given."""
        given = self._given(number, pixels, self._last)
        self._carried = given is None
        if given is not None:
            self._boxes = given
        elif self._boxes is not None:
            height, width = pixels.shape[:2]
            self._boxes = [person.moved(width, height) for person in self._people]
        return self._boxes

    def guess(self, inquiries: Sequence[Inquiry]) -> list[Guesses]:
        """Drafts for each inquiry of this frame, none where nobody was.

        Inquiries and people of the last frame are paired by the overlap of their crops, the largest first;
        all inquiries about whole frames are about the same person.
        """
        pairs = [
            (_common(inquiry.crop, person.crop), place, person)
            for place, inquiry in enumerate(inquiries)
            for person in self._people
        ]
        self._paired = {}
        for overlap, place, person in sorted(pairs, key=lambda pair: -pair[0]):
            taken = any(person is other for other in self._paired.values())
            if overlap >= _SAME and place not in self._paired and not taken:
                self._paired[place] = person
        self._guesses = [
            self._paired[place].guesses(inquiry) if place in self._paired else Guesses()
            for place, inquiry in enumerate(inquiries)
        ]
        return self._guesses

    def remember(self, inquiries: Sequence[Inquiry], located: Localization) -> None:
        """What this frame's inquiries were answered with."""
        boxes = [pose.box for pose in located] if self._boxes is None else self._boxes
        known = {place: person.anchor for place, person in enumerate(self._people)} if self._carried else {}
        self._people = [
            _Person(
                box,
                known.get(place) or _anchor(box, pose),
                inquiry.crop,
                pose,
                self._held(place, inquiry, pose),
            )
            for place, (box, inquiry, pose) in enumerate(zip(boxes, inquiries, located, strict=True))
        ]
        self._last = located

    def _held(self, place: int, inquiry: Inquiry, pose: Pose) -> tuple[tuple[int, ...], ...]:
        """See `_Person.held`."""
        if place not in self._paired:
            return ()
        said = inquiry.draft(pose, inquiry.crop)  # in the same crop: what was answered
        drafts = self._guesses[place].answers
        now = tuple(_common_tokens(draft, answer) for draft, answer in zip(drafts, said, strict=True))
        return (*self._paired[place].held[-1:], now)


def _source(
    boxes: BoxesArgument,
) -> Callable[[int, NDArray[np.uint8], Localization | None], FrameBoxes]:
    """The boxes of each frame, None where they are to be carried on."""
    if callable(boxes):
        return boxes
    if boxes is None:
        return lambda number, pixels, last: None
    if _is_one_frame(boxes):
        first = cast("Sequence[Sequence[float] | SquareCrop]", boxes)
        if not len(first):
            raise InvalidInputError(
                "[boxes] expected at least one (x, y, width, height) for the first frame; got none; where "
                "people come later, pass a list for each frame"
            )
        return lambda number, pixels, last: first if number == 0 else None
    if not isinstance(boxes, Iterable):
        raise InvalidInputError(
            f"[boxes] expected boxes of the first frame, an iterable of such lists, or a function; got "
            f"{boxes!r}; a box is (x, y, width, height)"
        )
    rest = cast("Iterator[FrameBoxes]", iter(boxes))
    return lambda number, pixels, last: next(rest, None)


def _is_one_frame(boxes: Any) -> bool:
    """Whether this is a list of boxes, not a list of such lists."""
    if not isinstance(boxes, (Sequence, np.ndarray)):
        return False
    if not len(boxes):
        return True
    first = boxes[0]
    if isinstance(first, SquareCrop):
        return True
    if isinstance(first, numbers.Real):
        raise InvalidInputError(
            f"[boxes] expected a list of boxes; got {boxes!r}, which is a single one; pass boxes=[box]"
        )
    return first is not None and len(first) > 0 and isinstance(first[0], numbers.Real)


def _anchor(box: Sequence[float] | SquareCrop, pose: Pose) -> _Anchor | None:
    found = _span(pose)
    return None if found is None else _Anchor(_rectangle(box), found)


def _span(pose: Pose) -> _Rectangle | None:
    """What the valid keypoints span that the model is sure of; None without any."""
    unsure = (pose.std > _SURE * max(pose.box[2:])).any(axis=1)  # an unknown deviation is no doubt
    points = pose.xy[pose.valid & np.isfinite(pose.xy).all(axis=1) & ~unsure]
    if not len(points):
        return None
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    return float(low[0]), float(low[1]), float(size[0]), float(size[1])


def _rectangle(box: Sequence[float] | SquareCrop) -> _Rectangle:
    x, y, width, height = map(float, box.box if isinstance(box, SquareCrop) else box)
    return x, y, width, height


def _overlap(one: _Rectangle, other: _Rectangle) -> float:
    """Intersection over union."""
    sides = [
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])
        for axis in (0, 1)
    ]
    both = max(0.0, sides[0]) * max(0.0, sides[1])
    union = one[2] * one[3] + other[2] * other[3] - both
    return both / union if union > 0 else 0.0


def _common(one: SquareCrop | None, other: SquareCrop | None) -> float:
    if one is None or other is None:
        return 1.0 if one is other else 0.0
    return _overlap(one.box, other.box)


def _common_tokens(draft: Sequence[int], answer: Sequence[int]) -> int:
    """How many tokens of a draft held before the first that did not."""
    if list(draft) == list(answer):
        return _WHOLE
    return next(
        (place for place, (one, other) in enumerate(zip(draft, answer, strict=False)) if one != other),
        min(len(draft), len(answer)),
    )
