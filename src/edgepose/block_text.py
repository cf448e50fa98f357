# SPDX-License-Identifier: Apache-2.0
"""Reads answers in blocks of bins out of their text, whatever tokens wrote it.

What bins mean in pixels and metres does not belong here: see `edgepose.questions.frame_questions`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BinText", "BlockText", "read_blocks"]

_BIN = rb"<(\d{1,9})>"
_GAP = rb"\s*,?\s*"
_NAME = rb"<\|?\s*([A-Za-z_][A-Za-z0-9_ ]*?)\s*\|?>"
_JOINT = {2: rb"kpt2d", 3: rb"kpt3d"}
_MARKER = rb"<\|(?:box|kpt2d|kpt3d)_(?:start|end)\|>|<\|im_end\|>"
_FENCE = re.compile(rb"```(?:json)?\s*(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class BinText:
    """One number of an answer."""

    bin: int
    """As written; 0 or more, not clamped."""
    token: int | None
    """Place of the token that is this number and nothing else; None where several tokens spell it."""


@dataclass(slots=True)
class BlockText:
    """What an answer says, by block."""

    box: tuple[BinText, ...] = ()
    """x0, y0, x1, y1; empty without a box."""
    places: dict[int, dict[str, tuple[BinText, ...]]] = field(default_factory=lambda: {2: {}, 3: {}})
    """By 2 and 3: joint name, as written, to that many numbers; in the order of the answer."""


def read_blocks(pieces: Sequence[bytes]) -> BlockText:
    """Read an answer.

    The first block of each kind counts, in any order. A block that is cut off, by the end of the answer or by
    the next marker, counts as far as it goes. White space and single commas may stand between all parts;
    names may be written `<|name|>` or `<name>`. An entry that is not a name and its numbers is passed over
    alone. Of entries of one name the first counts. Without any block, the older JSON answers are tried.

    Args:
        pieces: bytes of each token of the answer.

    Source: the output grammar of TAIHRI's published parser.
    """
    text = b"".join(pieces)
    spans = _spans(pieces)
    read = BlockText()
    box = _block(text, b"box")
    if box is not None:
        numbers = _numbers(text, box, 4, spans)
        read.box = numbers if numbers is not None else ()
    for count, marker in _JOINT.items():
        block = _block(text, marker)
        if block is None:
            continue
        entry = re.compile(_NAME + rb"\s*" + _GAP.join([_BIN] * count))
        for found in entry.finditer(text, *block):
            numbers = tuple(_number(found, group, spans) for group in range(2, 2 + count))
            read.places[count].setdefault(found[1].decode().strip(), numbers)
    if not read.box and not read.places[2] and not read.places[3] and b"{" in text:
        _read_json(text, read)
    return read


def _spans(pieces: Sequence[bytes]) -> dict[tuple[int, int], int]:
    """Where each token stands in the text, to its place."""
    spans: dict[tuple[int, int], int] = {}
    start = 0
    for place, piece in enumerate(pieces):
        spans[(start, start + len(piece))] = place
        start += len(piece)
    return spans


def _block(text: bytes, name: bytes) -> tuple[int, int] | None:
    """Inside of the first block of that name; it ends at the next marker, whichever that is."""
    start = re.search(rb"<\|" + name + rb"_start\|>", text)
    if start is None:
        return None
    end = re.compile(_MARKER).search(text, start.end())
    return start.end(), end.start() if end else len(text)


def _numbers(
    text: bytes, block: tuple[int, int], count: int, spans: dict[tuple[int, int], int]
) -> tuple[BinText, ...] | None:
    found = re.compile(rb"\s*" + _GAP.join([_BIN] * count)).match(text, *block)
    return None if found is None else tuple(_number(found, group, spans) for group in range(1, 1 + count))


def _number(found: re.Match[bytes], group: int, spans: dict[tuple[int, int], int]) -> BinText:
    start, end = found.span(group)
    return BinText(int(found[group]), spans.get((start - 1, end + 1)))


def _read_json(text: bytes, read: BlockText) -> None:
    """The answers of earlier training stages: names to strings of bins, in JSON, fenced or bare."""
    fenced = _FENCE.search(text)
    body = fenced[1] if fenced else text[text.find(b"{") : text.rfind(b"}") + 1]
    try:
        value = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    _walk(value, "", read)


def _walk(value: Any, name: str, read: BlockText) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _walk(item, str(key), read)
    elif isinstance(value, list):
        for item in value:
            _walk(item, name, read)
    elif isinstance(value, str):
        numbers = tuple(BinText(int(number), None) for number in re.findall(r"<(\d{1,9})>", value))
        if name in ("bbox", "box") and len(numbers) == 4:
            read.box = read.box or numbers
        elif len(numbers) in read.places:
            read.places[len(numbers)].setdefault(name, numbers)
