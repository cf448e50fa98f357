# SPDX-License-Identifier: Apache-2.0
"""Learns how a model sets its answers: order of the blocks, blanks and commas between their parts.

Reading coordinates out of answers does not belong here: see `edgepose.block_text`; getting answers out of
models does not either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NoReturn, TypeAlias

from edgepose.errors import InvalidInputError
from edgepose.manifest import BLOCKS, LayoutSpec

__all__ = ["NAMED_LAYOUTS", "SEPARATORS", "layout_from_tokens", "named_layout"]

NAMED_LAYOUTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "compact": MappingProxyType({}),
        "spaced": MappingProxyType(
            {
                "after_box_start": " ",
                "between_box_numbers": ", ",
                "before_box_end": " ",
                "after_start": " ",
                "after_name": " ",
                "between_numbers": ", ",
                "between_joints": " ",
                "before_end": " ",
                "between_blocks": " ",
            }
        ),
    }
)
"""Separators of layouts as text, by the fields of `LayoutSpec`; what is not named is empty.

`spaced` is the form in which the published parser documents an answer.
"""

SEPARATORS = (" ", ",", ", ", " ,", "\n", ",\n")
"""Texts that answers are set with, as far as one can think of."""

_NUMBERS: Mapping[str, int] = MappingProxyType({"box": 4, "kpt2d": 2, "kpt3d": 3})
"""Numbers of a box, and of one joint in the other blocks."""

Separators: TypeAlias = "tuple[int, ...]"


def named_layout(name: str, encode: Callable[[str], Sequence[int]], *, source: str = "option") -> LayoutSpec:
    """A layout of `NAMED_LAYOUTS`: box first, then the 2-D, then the 3-D block.

    Args:
        name: `compact` or `spaced`.
        encode: The tokenizer: text to token ids.
        source: What the layout says of where it comes from.

    Raises:
        InvalidInputError: There is no layout of that name.
    """
    texts = NAMED_LAYOUTS.get(name)
    if texts is None:
        raise InvalidInputError(
            f"[answer layout] expected one of {', '.join(NAMED_LAYOUTS)}; got {name!r}; name one of them or "
            "give an example answer"
        )
    separators = {part: tuple(encode(text)) for part, text in texts.items()}
    return LayoutSpec(blocks=BLOCKS, source=source, **separators)


def layout_from_tokens(
    ids: Sequence[int],
    *,
    bins: Collection[int],
    joints: Collection[int],
    markers: Mapping[str, int],
    end: int,
    source: str,
) -> LayoutSpec:
    """The layout of one whole answer.

    Args:
        ids: Tokens of an answer with a 2-D and a 3-D block of at least two joints each, and with or without a
            box; the end token may be missing, and what stands behind it is left out.
        bins: Ids of the coordinate tokens.
        joints: Ids of the joint names.
        markers: Ids of `box_start`, `box_end`, `kpt2d_start` and so on.
        end: Id that ends an answer.
        source: What the layout says of where it comes from.

    Raises:
        InvalidInputError: The tokens are no such answer, or set alike places differently; the message names
            the place.
    """
    kinds: dict[int, _Kind] = {number: ("bin", "") for number in bins}
    kinds |= {number: ("joint", "") for number in joints}
    for block in BLOCKS:
        kinds[markers[f"{block}_start"]] = ("start", block)
        kinds[markers[f"{block}_end"]] = ("end", block)
    kinds[end] = ("stop", "")
    reader = _Reader()
    for position, kind, between in _parts(ids, kinds):
        reader.accept(position, kind, between)
    return reader.layout(source)


_Kind: TypeAlias = tuple[Literal["bin", "joint", "start", "end", "stop"], str]


def _parts(ids: Sequence[int], kinds: Mapping[int, _Kind]) -> Iterator[tuple[int, _Kind, Separators]]:
    """Each token that means something: its position, its kind and the other tokens in front of it.

    The last one is the end, whether it is there or not.
    """
    between: list[int] = []
    for position, number in enumerate(ids):
        kind = kinds.get(number)
        if kind is None:
            between.append(number)
            continue
        yield position, kind, tuple(between)
        between = []
        if kind[0] == "stop":
            return
    yield len(ids), ("stop", ""), tuple(between)


@dataclass(slots=True)
class _Reader:
    """Walks through an answer and notes what stands between its parts."""

    blocks: list[str] = field(default_factory=list)
    block: str | None = None
    """The block that is open."""
    before: str = ""
    """Kind of the last part."""
    numbers: int = 0
    """Numbers since the last joint or start marker."""
    joints: int = 0
    """Joints of the open block."""
    found: dict[str, tuple[Separators, int]] = field(default_factory=dict)
    """What stands at each place, and where it was seen first."""

    def accept(self, position: int, kind: _Kind, between: Separators) -> None:
        part, block = kind
        place = self._place(part, block, position)
        if place is None:
            if between:
                _refuse(position, "no text in front of the first block", f"tokens {list(between)}")
        else:
            seen, where = self.found.setdefault(place, (between, position))
            if seen != between:
                _refuse(
                    position,
                    f"the same tokens at every place {place}, {list(seen)} as at token {where}",
                    str(list(between)),
                )
        self.before = part

    def _place(self, part: str, block: str, position: int) -> str | None:
        """Field of `LayoutSpec` for what stands in front of a part; None in front of everything."""
        if self.block is None:
            if part == "start":
                if block in self.blocks:
                    _refuse(position, f"one {block} block", "a second one")
                self.blocks.append(block)
                self.block, self.numbers, self.joints = block, 0, 0
                return "between_blocks" if len(self.blocks) > 1 else None
            if part == "stop" and self.blocks:
                return "after_blocks"
            _refuse(position, "the start of a block", _word(part, block))
        if part == "stop" or part == "start":
            _refuse(position, f"the end of the {self.block} block", _word(part, block))
        full = self.numbers == _NUMBERS[self.block]
        if part == "end":
            if block != self.block:
                _refuse(position, f"the end of the {self.block} block", f"that of {block}")
            if not full:
                self._refuse_count(position)
            if self.block != "box" and self.joints < 2:
                _refuse(position, f"at least two joints in the {block} block", str(self.joints))
            self.block = None
            return "before_box_end" if block == "box" else "before_end"
        if part == "joint":
            if self.block == "box":
                _refuse(position, "a number of the box", "a joint")
            if self.joints and not full:
                self._refuse_count(position)
            self.joints, self.numbers = self.joints + 1, 0
            return "after_start" if self.before == "start" else "between_joints"
        if full or (self.before == "start" and self.block != "box"):
            _refuse(position, "a joint or the end of the block", "a number")
        self.numbers += 1
        if self.before == "start":
            return "after_box_start"
        if self.before == "joint":
            return "after_name"
        return "between_box_numbers" if self.block == "box" else "between_numbers"

    def _refuse_count(self, position: int) -> NoReturn:
        whole = _NUMBERS[self.block or ""]
        _refuse(position, f"{whole} numbers in a row in the {self.block} block", str(self.numbers))

    def layout(self, source: str) -> LayoutSpec:
        missing = [block for block in ("kpt2d", "kpt3d") if block not in self.blocks]
        if missing:
            _refuse(None, "a 2-D and a 3-D block", f"no {' and no '.join(missing)} block")
        separators = {place: between for place, (between, _) in self.found.items()}
        return LayoutSpec(blocks=tuple(self.blocks), source=source, **separators)


def _word(part: str, block: str) -> str:
    return {"stop": "the end of the answer", "bin": "a number", "joint": "a joint"}.get(
        part, f"the {part} of a {block} block"
    )


def _refuse(position: int | None, expected: str, got: str) -> NoReturn:
    at = "" if position is None else f" at token {position}"
    raise InvalidInputError(
        f"[answer layout] expected{at} {expected}; got {got}; give one whole answer of the model as it wrote "
        "it, with two or more joints, or name a layout: " + ", ".join(NAMED_LAYOUTS)
    )
