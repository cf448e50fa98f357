# SPDX-License-Identifier: Apache-2.0
"""From keypoint texts to token ids: the prefix that all questions share and each question's own suffix.

The wording does not belong here: the bundle has the prompt, `edgepose.keypoints` the keypoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepose._core import IMAGE_TOKEN
from edgepose.bundle import PromptSpec
from edgepose.keypoints import KeypointText

if TYPE_CHECKING:
    import tokenizers

__all__ = ["Prompt", "build_prompt", "split_shared"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of one batch of questions about one image."""

    prefix: tuple[int, ...]
    """What all questions begin with; `IMAGE_TOKEN` (-1) stands for each row of the image embeddings."""

    suffixes: tuple[tuple[int, ...], ...]
    """What each question goes on with, at least one token."""


def build_prompt(spec: PromptSpec, tokenizer: tokenizers.Tokenizer, texts: Sequence[KeypointText]) -> Prompt:
    """Encode the questions about `texts`.

    Source: LocLLM `datasets/convsersation.py` and `utils/valid2d.py` for what the bundle's prompt spells out.
    """
    prefix: list[int] = []
    for segment in spec.prefix:
        if segment.tokens is not None:
            prefix += segment.tokens
        elif segment.text is not None:
            prefix += _encode(tokenizer, segment.text)
        elif segment.image is not None:
            prefix += [IMAGE_TOKEN] * segment.image
    questions = [(*prefix, *_encode(tokenizer, _fill(spec.suffix, text))) for text in texts]
    return split_shared(questions)


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


def _fill(template: str, text: KeypointText) -> str:
    values = {"name": text.name, "description": text.description, "question": text.asked}
    return re.sub(r"\{(name|description|question)\}", lambda found: values[found[1]], template)


def _encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)
