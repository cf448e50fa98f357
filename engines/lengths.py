# SPDX-License-Identifier: Apache-2.0
"""How long prompts and answers of a bundle are, counted with its own tokenizer.

Which shapes follow from that does not belong here: see `edgepose.engines.profiles`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepose._core import BlockCodec
from edgepose.bundle import BinCodecSpec, Bundle, FrameSpec
from edgepose.engines.recipe import Shapes
from edgepose.errors import InvalidInputError
from edgepose.keypoints import KEYPOINT_SETS
from edgepose.prompts import Prompt, build_prompt, least_shared

__all__ = ["Lengths", "Range", "measure_lengths"]


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest, usual and largest of a count."""

    low: int
    usual: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.usual <= self.high:
            raise InvalidInputError(
                f"[profile] expected 1 <= smallest <= usual <= largest; got {self.low}, {self.usual}, "
                f"{self.high}; raise the recipe's limit"
            )

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.usual + other.usual, self.high + other.high)

    def times(self, factor: int) -> Range:
        """All three multiplied."""
        return Range(self.low * factor, self.usual * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Counts of tokens, unless said otherwise."""

    questions: Range
    """Questions in one batch."""
    prefix: Range
    """What all questions share, image included."""
    suffix: Range
    """What one question adds, and the tokens that open every answer."""
    step: Range
    """One decoding step: the chosen token and what its form forces behind it."""
    slots: Range
    """Places behind the prefix: suffix and answer."""
    draft: Range
    """A question with a guess of its whole answer, or a guess of the rest of an answer."""
    looks: Range
    """Tokens of a draft whose successors are looked at."""
    step_looks: Range
    """Tokens of the other steps whose successors are looked at."""
    image: Range | None
    """Image positions of a frame; None where crops have a fixed count."""


def measure_lengths(bundle: Bundle, shapes: Shapes) -> Lengths:
    """Count a bundle's prompts and answers.

    Args:
        bundle: an open bundle.
        shapes: the recipe's limits.

    Raises:
        InvalidInputError: the recipe's limits leave nothing, or go beyond the model's context.
    """
    manifest = bundle.manifest
    codec = manifest.codec
    if isinstance(codec, BinCodecSpec):
        count = Range(1, 1, 1)
        prefix, own, image = _frame_prompt(bundle, codec, shapes)
        opening, forced, form = _block_form(codec, manifest.keypoints.default)
    else:
        count, prefix, own = _keypoint_prompts(bundle, shapes)
        image = None
        # ` [0.` opens an answer; a comma and `0.` stand between two numbers.
        opening, forced, form = 3, 3, Range(codec.answer_tokens, codec.answer_tokens, codec.answer_tokens)
    exact = codec.max_tokens if shapes.answer_tokens is None else min(codec.max_tokens, shapes.answer_tokens)
    longest = max(form.high, exact)
    room = manifest.decoder.max_positions - prefix.high
    slots = Range(1, own.usual + form.usual, min(own.high + longest, room))
    return Lengths(
        questions=count,
        prefix=prefix,
        suffix=Range(1, own.usual + opening, own.high + opening),
        step=Range(1, 1, 1 + forced),
        slots=slots,
        draft=Range(1, own.usual + form.usual, min(own.high + form.high, slots.high)),
        looks=Range(1, form.usual, form.high + 1),
        step_looks=Range(1, 1, 1 + max(opening, forced)),
        image=image,
    )


def _keypoint_prompts(bundle: Bundle, shapes: Shapes) -> tuple[Range, Range, Range]:
    """Questions, prefix and suffix where each keypoint is a question of its own."""
    manifest = bundle.manifest
    texts = manifest.keypoints.named()

    def prompt(names: list[str]) -> Prompt:
        values = [
            {"name": name, "description": texts[name].description, "question": texts[name].asked}
            for name in names
        ]
        return build_prompt(manifest.prompt, bundle.tokenizer, values)

    default = prompt(list(KEYPOINT_SETS[manifest.keypoints.default].keypoints))
    every = prompt(list(texts))
    # A user's texts may share the prompt's prefix alone; one question alone shares all but its last token.
    shared, usual = least_shared(manifest.prompt, bundle.tokenizer), max(map(len, default.suffixes))
    rest = len(every.prefix) + max(map(len, every.suffixes)) - shared + shapes.extra_tokens
    count = len(default.suffixes) if shapes.questions is None else shapes.questions
    return (
        Range(1, count, count),
        Range(shared, len(default.prefix), shared + rest - 1),
        Range(1, usual, max(usual, rest)),
    )


def _frame_prompt(bundle: Bundle, codec: BinCodecSpec, shapes: Shapes) -> tuple[Range, Range, Range]:
    """Prefix, suffix and image positions where one question is about a whole frame."""
    manifest, frame = bundle.manifest, bundle.manifest.frame
    assert isinstance(frame, FrameSpec)  # a sound manifest with this codec has one
    image = _frame_tokens(frame, shapes)

    def words(question: str) -> int:
        values = [{"question": question}]
        return len(build_prompt(manifest.prompt, bundle.tokenizer, values, image=0).prefix)

    # A command may be a word; the longest question that the bundle itself writes names every joint.
    wording = manifest.prompt.asked or "{names}"
    default = KEYPOINT_SETS[manifest.keypoints.default].keypoints
    usual = words(wording.replace("{names}", ", ".join(default)))
    longest = words(wording.replace("{names}", ", ".join(codec.joints))) + shapes.extra_tokens
    return image + Range(words(""), usual, max(usual, longest)), Range(1, 1, 1), image


def _frame_tokens(frame: FrameSpec, shapes: Shapes) -> Range:
    low = -(-frame.min_pixels // frame.factor**2)
    high = frame.max_pixels // frame.factor**2
    if frame.crop is not None:
        high = min(high, round(frame.crop / frame.factor) ** 2)
    if shapes.image_tokens is not None:
        if shapes.image_tokens < low:
            raise InvalidInputError(
                f"[recipe] expected shapes.image_tokens of at least {low}, the smallest frame of this "
                f"bundle; got {shapes.image_tokens}; raise it"
            )
        high = min(high, shapes.image_tokens)
    return Range(low, high, high)


def _block_form(codec: BinCodecSpec, default: str) -> tuple[int, int, Range]:
    """Tokens that open an answer, most that are forced in a row behind a number, length of an answer."""
    layout = codec.layout
    joints = list(codec.joints.values())
    blocks = BlockCodec(
        bins=codec.bins,
        joints=joints,
        markers=codec.markers,
        end=codec.end,
        blocks=layout.blocks,
        separators=layout.separators,
    )
    names = list(codec.joints)
    asked = blocks.asked([names.index(name) for name in KEYPOINT_SETS[default].keypoints])
    longest = max(asked.longest, blocks.asked(list(range(len(joints)))).longest, blocks.free().longest)
    first = 1 + len(layout.after_start) + 1 + len(layout.after_name)  # marker, joint
    opening = 1 + len(layout.after_box_start) if layout.blocks[0] == "box" else first
    ending = max(len(layout.before_box_end), len(layout.before_end)) + 1
    forced = max(
        ending + len(layout.between_blocks) + max(first, 1 + len(layout.after_box_start)),
        len(layout.between_joints) + 1 + len(layout.after_name),
        len(layout.between_numbers),
        len(layout.between_box_numbers),
    )
    return opening, forced, Range(1, asked.longest, longest)
