# SPDX-License-Identifier: Apache-2.0
"""Kinds of codecs: decimal digits, or one token for each of equally spaced bins.

Reading answers does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgepose.answer_layout import SEPARATORS
from edgepose.bundle import BinCodecSpec, DigitCodecSpec
from edgepose.export.answer_layout import read_layout
from edgepose.export.families.description import Source
from edgepose.export.tokenizer import ByteLevelTokenizer, LlamaTokenizer
from edgepose.keypoints import KEYPOINT_SETS
from edgepose.manifest import MARKERS

__all__ = ["BinCodec", "DigitCodec"]

_Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class DigitCodec:
    """Coordinates in decimal text, ` [0.512,0.334]`."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset()

    places: tuple[int, ...]
    """Decimals of each number of an answer: x, y and, where there are three, depth."""
    depth_range_mm: float | None = None
    """Millimetres that the third number spans, 0.5 at the root joint; None where there is no third."""

    @property
    def answer_tokens(self) -> int:
        """Length of an answer without the end token; the published code generates no further."""
        return 2 + sum(2 + places for places in self.places) + len(self.places) - 1

    def spec(self, source: Source[LlamaTokenizer]) -> DigitCodecSpec:
        """`codec` of a manifest."""
        tokenizer = source.tokenizer
        digits = tuple(tokenizer.require(str(digit)) for digit in range(10))
        return DigitCodecSpec(
            kind="digit",
            places=self.places,
            open=tokenizer.require("▁["),
            zero=digits[0],
            point=tokenizer.require("."),
            comma=tokenizer.require(","),
            close=tokenizer.require("]"),
            digits=digits,
            end=tokenizer.end,
            pad=tokenizer.pad,
            answer_tokens=self.answer_tokens,
            cleanup_spaces=tokenizer.cleanup_spaces,
            depth_range_mm=self.depth_range_mm,
        )

    def answer_head(self, spec: DigitCodecSpec, source: Source[LlamaTokenizer]) -> tuple[int, ...]:
        """Ids of all tokens that answers are written with, ascending."""
        rest = (spec.open, spec.zero, spec.point, spec.comma, spec.close, spec.end)
        return tuple(sorted({*spec.digits, *rest}))


@dataclass(frozen=True, slots=True)
class BinCodec:
    """Coordinates in tokens `<0>`, `<1>`, ... of bins, set in blocks."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset({"answer_layout"})

    bins: int
    """How many there are."""
    x: _Range
    """Metres at the first and the last bin."""
    y: _Range
    z: _Range
    end: str
    """The token that ends an answer, and fills up what is shorter."""
    max_tokens: int
    """Tokens after which the published code stops."""
    repetition_penalty: float

    def spec(self, source: Source[ByteLevelTokenizer]) -> BinCodecSpec:
        """`codec` of a manifest."""
        names = KEYPOINT_SETS[source.keypoint_set].keypoints
        bins, markers, joints, (end,) = source.tokenizer.ids(
            [[f"<{number}>" for number in range(self.bins)]],
            [[f"<|{name}|>" for name in MARKERS]],
            [[f"<|{name}|>" for name in names], [f"<{name}>" for name in names]],
            [[self.end]],
        )
        marker_ids = dict(zip(MARKERS, markers, strict=True))
        layout = read_layout(
            source.options.answer_layout,
            source.tokenizer,
            bins=bins,
            joints=joints,
            markers=marker_ids,
            end=end,
        )
        return BinCodecSpec(
            kind="bin",
            bins=tuple(bins),
            joints=dict(zip(names, joints, strict=True)),
            markers=marker_ids,
            layout=layout,
            x=self.x,
            y=self.y,
            z=self.z,
            end=end,
            pad=end,
            max_tokens=self.max_tokens,
            repetition_penalty=self.repetition_penalty,
        )

    def answer_head(self, spec: BinCodecSpec, source: Source[ByteLevelTokenizer]) -> tuple[int, ...]:
        """Ids of all tokens that answers are written with, ascending; usual separators are among them, since
        `edgepose.probe` may find them in the layout later.
        """
        between = {number for separator in spec.layout.separators.values() for number in separator}
        usual = {number for text in SEPARATORS for number in source.tokenizer.encode(text)}
        return tuple(sorted({*spec.chosen_tokens, *between, *usual, spec.end}))
