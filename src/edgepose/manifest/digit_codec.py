# SPDX-License-Identifier: Apache-2.0
"""How a coordinate is written as decimal text.

Reading answers does not belong here: see `edgepose.answers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgepose.keypoints import KEYPOINT_SETS
from edgepose.manifest.checks import Check
from edgepose.manifest.keypoints import KeypointsSpec

__all__ = ["DigitCodecSpec"]


@dataclass(frozen=True, slots=True)
class DigitCodecSpec:
    """How a coordinate is written in tokens: ` [0.ddd,0.ddd]`, or ` [0.ddd,0.ddd,0.dddddd]` with a depth."""

    kind: Literal["digit"]
    places: tuple[int, ...]
    """Decimal places of each number of an answer: x, y and, where there are three, depth."""
    open: int
    """Token id of ` [`."""
    zero: int
    """Token id of the `0` before the point."""
    point: int
    comma: int
    close: int
    digits: tuple[int, ...]
    """(10,) token ids of `0` ... `9`."""
    end: int
    """Token id that ends an answer."""
    pad: int
    answer_tokens: int
    """Tokens of a whole answer without the end token."""
    cleanup_spaces: bool
    """Whether the checkpoint's tokenizer removes blanks before punctuation when it decodes."""
    depth_range_mm: float | None = None
    """Millimetres that the third number spans, 0.5 at the root joint; there exactly with three `places`."""

    @property
    def max_tokens(self) -> int:
        """Longest answer that exact decoding lets the model write."""
        return self.answer_tokens

    @property
    def repetition_penalty(self) -> float:
        """None in the published decoding."""
        return 1.0

    @property
    def chosen_tokens(self) -> frozenset[int]:
        """Token ids that may have to be chosen where an answer keeps to the form."""
        return frozenset(self.digits)

    @property
    def summary(self) -> str:
        """In a few words."""
        return f"{len(self.places)}-D answers of {self.answer_tokens} tokens"

    def check(self, check: Check, keypoints: KeypointsSpec) -> None:
        """Note what does not fit."""
        for name in ("open", "zero", "point", "comma", "close", "end", "pad"):
            check.tokens(f"codec.{name}", (getattr(self, name),))
        check.tokens("codec.digits", self.digits)
        check.expect(
            len(set(self.digits)) == 10 == len(self.digits), "codec.digits", "10 different ids", self.digits
        )
        check.expect(self.zero in self.digits[:1], "codec.zero", "the id of the digit 0", self.zero)
        places = self.places
        check.expect(
            2 <= len(places) <= 3 and all(1 <= p <= 9 for p in places),
            "codec.places",
            "2 or 3 counts of 1 to 9",
            places,
        )
        length = 2 + sum(2 + p for p in places) + len(places) - 1
        check.expect(
            self.answer_tokens == length,
            "codec.answer_tokens",
            f"{length} for these places",
            self.answer_tokens,
        )
        depth = self.depth_range_mm
        deep = len(places) == 3
        check.expect(
            depth is not None and depth > 0 if deep else depth is None,
            "codec.depth_range_mm",
            f"{'millimetres above 0' if deep else 'none'} for {len(places)} places",
            depth,
        )
        default = KEYPOINT_SETS.get(keypoints.default)
        missing = [name for name in default.keypoints if name not in keypoints.texts] if default else []
        check.expect(
            not missing,
            "keypoints.texts",
            f"a text for each keypoint of {keypoints.default}",
            f"none for {missing}",
        )
