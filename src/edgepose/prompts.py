# SPDX-License-Identifier: Apache-2.0
"""From questions to token ids: the prefix that all questions share and each question's own suffix.

The wording does not belong here: the bundle has the prompt, `edgepose.keypoint_wording` the keypoints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepose._core import IMAGE_TOKEN
from edgepose.bundle import PromptSegment, PromptSpec

if TYPE_CHECKING:
    import tokenizers

__all__ = ["Prompt", "build_prompt", "least_shared", "split_shared"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of one batch of questions about one image."""

    prefix: tuple[int, ...]
    """What all questions begin with; `IMAGE_TOKEN` (-1) stands for each row of the image embeddings."""

    suffixes: tuple[tuple[int, ...], ...]
    """What each question goes on with, at least one token."""

    def written(self, question: int, image_token: int | None) -> tuple[int, ...]:
        """All token ids of one question, as the published code counts them.

        Args:
            question: place in `suffixes`.
            image_token: what stands for an image position; None leaves `IMAGE_TOKEN`.
        """
        ids = self.prefix + self.suffixes[question]
        return ids if image_token is None else tuple(image_token if i == IMAGE_TOKEN else i for i in ids)


def build_prompt(
    spec: PromptSpec,
    tokenizer: tokenizers.Tokenizer,
    questions: Sequence[Mapping[str, str]],
    *,
    image: int = 0,
) -> Prompt:
    """Encode questions about one image.

    Args:
        spec: the bundle's prompt.
        tokenizer: the bundle's tokenizer.
        questions: what the placeholders of the prompt's suffix stand for, one mapping for each question.
        image: positions that the image takes, where the bundle leaves that to the frame.

    Source: LocLLM `datasets/convsersation.py` and `utils/valid2d.py`, TAIHRI's chat template, for what the
    bundles' prompts spell out.
    """
    prefix = _segments(spec.prefix, tokenizer, image)
    ending = _segments(spec.ending, tokenizer, image)
    return split_shared(
        [(*prefix, *_encode(tokenizer, _fill(spec.suffix, values)), *ending) for values in questions]
    )


def least_shared(spec: PromptSpec, tokenizer: tokenizers.Tokenizer, *, image: int = 0) -> int:
    """How many tokens any questions share, whatever is asked: those of the bundle's prefix.

    Args:
        spec: the bundle's prompt.
        tokenizer: the bundle's tokenizer.
        image: as for `build_prompt`.
    """
    return len(_segments(spec.prefix, tokenizer, image))


def split_shared(questions: Sequence[tuple[int, ...]]) -> Prompt:
    """Split where the first two questions differ, so that nothing is computed twice.

    The last token of every question stays in its suffix: its logits are wanted. This changes no answer, since
    attention is causal.
    """
    shared = min(len(question) for question in questions) - 1
    first = questions[0]
    for question in questions[1:]:
        shared = next((i for i in range(shared) if question[i] != first[i]), shared)
    return Prompt(first[:shared], tuple(question[shared:] for question in questions))


def _segments(segments: Sequence[PromptSegment], tokenizer: tokenizers.Tokenizer, image: int) -> list[int]:
    ids: list[int] = []
    for segment in segments:
        if segment.tokens is not None:
            ids += segment.tokens
        elif segment.text is not None:
            ids += _encode(tokenizer, segment.text)
        elif segment.image is not None:
            ids += [IMAGE_TOKEN] * (segment.image or image)
    return ids


def _fill(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{([a-z]+)\}", lambda found: values.get(found[1], found[0]), template)


def _encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)
