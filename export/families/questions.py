# SPDX-License-Identifier: Apache-2.0
"""Kinds of questions: one for each keypoint, described in words, or one in free words for any joints.

What the prompts say is in `edgepose.export.prompts` and in the families.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgepose.bundle import KeypointsSpec, KeypointTextSpec, PromptSegment, PromptSpec
from edgepose.errors import InvalidInputError
from edgepose.export.chat_prompt import ChatWording, build_chat_prompt
from edgepose.export.families.description import Source
from edgepose.export.keypoint_texts import load_keypoint_texts
from edgepose.export.prompts import PromptFormat, build_prompt
from edgepose.export.tokenizer import ByteLevelTokenizer, LlamaTokenizer
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.keypoints import KEYPOINT_SETS

__all__ = ["ChatQuestions", "KeypointQuestions"]


@dataclass(frozen=True, slots=True)
class KeypointQuestions:
    """One question for each keypoint, in one of several published formats."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset({"keypoint_texts", "prompt_format"})

    formats: tuple[PromptFormat, ...]
    """Formats the family was published with; the weights were trained with the first."""

    def specs(self, source: Source[LlamaTokenizer]) -> tuple[PromptSpec, KeypointsSpec]:
        """`prompt` and `keypoints` of a manifest."""
        chosen = source.options.prompt_format or self.formats[0]
        prompt = build_prompt(chosen, source.tokenizer, source.config.vision.patches)
        segments = tuple(
            PromptSegment(
                tokens=tuple(segment["tokens"]) if "tokens" in segment else None,
                text=segment.get("text"),
                image=segment.get("image"),
            )
            for segment in prompt["prefix"]
        )
        return PromptSpec(prompt["format"], segments, prompt["suffix"]), self._keypoints(source)

    def _keypoints(self, source: Source[LlamaTokenizer]) -> KeypointsSpec:
        path = source.options.keypoint_texts
        if path is None:
            texts = {
                name: KeypointTextSpec(text.description, text.question)
                for name, text in DEFAULT_TEXTS.items()
            }
            return KeypointsSpec(source.keypoint_set, texts, "edgepose")
        loaded = load_keypoint_texts(path)
        wanted = KEYPOINT_SETS[source.keypoint_set].keypoints
        missing = [name for name in wanted if name not in loaded]
        if missing:
            raise InvalidInputError(
                f"[export] expected {Path(path)} to describe every keypoint of {source.keypoint_set}; it has "
                f"none for {', '.join(missing)}; add them"
            )
        texts = {
            name: KeypointTextSpec(text["description"], text.get("question")) for name, text in loaded.items()
        }
        return KeypointsSpec(source.keypoint_set, texts, Path(path).name)


@dataclass(frozen=True, slots=True)
class ChatQuestions:
    """One question in free words; joints are tokens and need no description."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset()

    wording: ChatWording

    def specs(self, source: Source[ByteLevelTokenizer]) -> tuple[PromptSpec, KeypointsSpec]:
        """`prompt` and `keypoints` of a manifest."""
        prompt = build_chat_prompt(source.checkpoint.path, source.tokenizer, self.wording)
        return prompt, KeypointsSpec(source.keypoint_set, {}, "edgepose")
