# SPDX-License-Identifier: Apache-2.0
"""The prompt, as data: what stands before, in and behind a question.

Encoding it does not belong here: see `edgepose.prompts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgepose.manifest.checks import Check
from edgepose.records import write_value

__all__ = ["PromptSegment", "PromptSpec"]

_PLACEHOLDERS = ("name", "description", "question")


@dataclass(frozen=True, slots=True)
class PromptSegment:
    """One piece of the prompt: exactly one of the three fields is set."""

    tokens: tuple[int, ...] | None = None
    """Token ids as they are."""
    text: str | None = None
    """Text to encode on its own."""
    image: int | None = None
    """Number of positions that image embeddings take; 0 for as many as the frame has."""


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """The prompt: a prefix that all questions share, a suffix per question, and how it ends."""

    format: Literal["keypoint", "simple", "llama2", "chat"]
    prefix: tuple[PromptSegment, ...]
    """Segments in order; one of them is the image."""
    suffix: str
    """Text after the prefix with the placeholders {name}, {description}, {question}; encoded as one text."""
    ending: tuple[PromptSegment, ...] = ()
    """Segments behind the suffix, without an image."""
    asked: str | None = None
    """The question for named keypoints, with the placeholder {names}; where one question asks for several."""
    image_token: int | None = None
    """Token id that stands for an image position where token ids are written down or counted."""

    def check(self, check: Check, *, patches: int | None) -> None:
        """Note what does not fit; `patches`: image positions, None where the frame decides."""
        for name, segments in (("prefix", self.prefix), ("ending", self.ending)):
            images = []
            for index, segment in enumerate(segments):
                where = f"prompt.{name}[{index}]"
                given = [part for part in (segment.tokens, segment.text, segment.image) if part is not None]
                check.expect(
                    len(given) == 1, where, "exactly one of tokens, text, image", write_value(segment)
                )
                check.tokens(f"{where}.tokens", segment.tokens or ())
                if segment.image is not None:
                    images.append(segment.image)
            expected = [patches or 0] if name == "prefix" else []
            positions = f"one image of {expected[0]} positions" if expected else "no image"
            check.expect(images == expected, f"prompt.{name}", positions, images)
        names = re.findall(r"\{([^{}]*)\}", self.suffix)
        unknown = [name for name in names if name not in _PLACEHOLDERS]
        check.expect(
            bool(names) and not unknown,
            "prompt.suffix",
            f"placeholders out of {', '.join(_PLACEHOLDERS)}, at least one",
            unknown or self.suffix,
        )
        if self.asked is not None:
            check.expect("{names}" in self.asked, "prompt.asked", "the placeholder {names}", self.asked)
        if self.image_token is not None:
            check.tokens("prompt.image_token", (self.image_token,))
