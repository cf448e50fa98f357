# SPDX-License-Identifier: Apache-2.0
"""How answers are written in blocks of coordinate tokens, each token one of equally spaced bins.

Reading answers does not belong here: see `edgepose.block_text` and `edgepose.questions`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgepose.keypoints import KEYPOINT_SETS
from edgepose.manifest.checks import Check
from edgepose.manifest.keypoints import KeypointsSpec

__all__ = ["BLOCKS", "MARKERS", "BinCodecSpec", "LayoutSpec"]

BLOCKS = ("box", "kpt2d", "kpt3d")
"""Blocks of an answer: the person's box, places in the image, places in metres."""

MARKERS = tuple(f"{block}_{end}" for block in BLOCKS for end in ("start", "end"))
"""What opens and closes the blocks; as tokens, `<|box_start|>` and so on."""


@dataclass(frozen=True, slots=True)
class LayoutSpec:
    """How an answer is set: the order of its blocks, and token ids of blanks and commas between its parts."""

    blocks: tuple[str, ...]
    """Out of `BLOCKS`, in order."""
    after_box_start: tuple[int, ...] = ()
    """Between the box's start marker and its first number."""
    between_box_numbers: tuple[int, ...] = ()
    before_box_end: tuple[int, ...] = ()
    after_start: tuple[int, ...] = ()
    """Between the start marker of a block of keypoints and its first joint."""
    after_name: tuple[int, ...] = ()
    """Between a joint and its first number."""
    between_numbers: tuple[int, ...] = ()
    """Between the numbers of one joint."""
    between_joints: tuple[int, ...] = ()
    """Between the last number of a joint and the next joint."""
    before_end: tuple[int, ...] = ()
    """Between the last number of a block of keypoints and its end marker."""
    between_blocks: tuple[int, ...] = ()
    after_blocks: tuple[int, ...] = ()
    """Between the last end marker and the end of the answer."""
    source: str = "default"
    """Where this was learnt: `default`, `option` or `probe`."""

    @property
    def separators(self) -> dict[str, tuple[int, ...]]:
        """The token ids by field name."""
        return {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("blocks", "source")
        }


@dataclass(frozen=True, slots=True)
class BinCodecSpec:
    """How an answer about one person is written: box, 2-D and 3-D block, numbers as bin tokens.

    Bin k of n stands for `low + k / (n - 1) * (high - low)`; pixels run over the frame.
    """

    kind: Literal["bin"]
    bins: tuple[int, ...]
    """Token ids of the bins `<0>`, `<1>`, ..."""
    joints: Mapping[str, int]
    """Joint name to token id of `<|name|>`."""
    markers: Mapping[str, int]
    """Each of `MARKERS` to its token id."""
    layout: LayoutSpec
    x: tuple[float, ...]
    """(2,) metres at the first and the last bin, camera frame: x right, y down, z forward."""
    y: tuple[float, ...]
    z: tuple[float, ...]
    end: int
    """Token id that ends an answer."""
    pad: int
    max_tokens: int
    """Longest answer that exact decoding lets the model write."""
    repetition_penalty: float
    """What the published decoding divides the logits of tokens by that were there before; 1 for nothing."""

    @property
    def chosen_tokens(self) -> frozenset[int]:
        """Token ids that may have to be chosen where an answer keeps to the form."""
        return frozenset((*self.bins, *self.joints.values(), *self.markers.values()))

    @property
    def summary(self) -> str:
        """In a few words."""
        ranges = ", ".join(
            f"{axis} {low:g} to {high:g} m"
            for axis, (low, high) in zip("xyz", (self.x, self.y, self.z), strict=True)
        )
        layout = f"blocks {' '.join(self.layout.blocks)} ({self.layout.source})"
        return f"{len(self.bins)} bins, {len(self.joints)} joints, {ranges}, {layout}"

    def check(self, check: Check, keypoints: KeypointsSpec) -> None:
        """Note what does not fit."""
        ids = (*self.bins, *self.joints.values(), *self.markers.values())
        for where, some in (
            ("codec.bins", self.bins),
            ("codec.joints", self.joints.values()),
            ("codec.markers", self.markers.values()),
            ("codec.end", (self.end,)),
            ("codec.pad", (self.pad,)),
        ):
            check.tokens(where, some)
        check.within("codec.bins (count)", len(self.bins), 2, 1 << 16)
        check.expect(
            len(set(ids)) == len(ids), "codec", "different ids for all bins, joints and markers", "repeats"
        )
        check.expect(
            sorted(self.markers) == sorted(MARKERS),
            "codec.markers",
            f"ids of {', '.join(MARKERS)}",
            list(self.markers),
        )
        blocks = self.layout.blocks
        check.expect(
            len(set(blocks)) == len(blocks) and {"kpt2d", "kpt3d"} <= set(blocks) <= set(BLOCKS),
            "codec.layout.blocks",
            "kpt2d and kpt3d once each, and box at most once",
            blocks,
        )
        for name, separator in self.layout.separators.items():
            check.tokens(f"codec.layout.{name}", separator)
            taken = sorted(set(separator) & set(ids))
            check.expect(not taken, f"codec.layout.{name}", "no bins, joints or markers", taken)
        for axis in ("x", "y", "z"):
            span = getattr(self, axis)
            check.expect(
                len(span) == 2 and span[0] < span[1], f"codec.{axis}", "two rising numbers, metres", span
            )
        check.within("codec.max_tokens", self.max_tokens, 1, 1 << 20)
        check.within("codec.repetition_penalty", self.repetition_penalty, 0.01, 100)
        default = KEYPOINT_SETS.get(keypoints.default)
        missing = [name for name in default.keypoints if name not in self.joints] if default else []
        check.expect(
            not missing,
            "codec.joints",
            f"a token for each joint of {keypoints.default}",
            f"none for {missing}",
        )
