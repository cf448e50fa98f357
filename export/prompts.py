# SPDX-License-Identifier: Apache-2.0
"""Spells out a published prompt format as the segments that a bundle stores.

Filling in keypoints and encoding at run time do not belong here; the texts of keypoints come from elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from edgepose.errors import InvalidInputError
from edgepose.export.tokenizer import IMAGE_PLACEHOLDER, LlamaTokenizer

__all__ = ["PROMPT_FORMATS", "PromptFormat", "build_prompt", "encode_prompt", "prompt_string"]

PromptFormat = Literal["keypoint", "simple", "llama2"]


@dataclass(frozen=True, slots=True)
class Wording:
    """One prompt format: what stands before and after the image, byte for byte."""

    before: str
    after: str


_ASKED = (
    "Question: Where is the {name} of this person in this image? Please provide its coordinates.\nAnswer:"
)

PROMPT_FORMATS = MappingProxyType(
    {
        "keypoint": Wording("Image: ", f"\nKeypoint: {{description}}\n{_ASKED}"),
        "simple": Wording("Image: ", f"\n{_ASKED}"),
        "llama2": Wording("[INST] <<SYS>>\nImage: ", "\n<</SYS>>\n\n{question} [/INST]"),
    }
)
"""By the name that the command line and bundle.json use. Source: LocLLM `datasets/convsersation.py`."""


def build_prompt(prompt_format: str, tokenizer: LlamaTokenizer, patches: int) -> dict[str, Any]:
    """The `prompt` object of `bundle.json`: segments of the shared prefix, and the template of a suffix.

    The published slow tokenizer strips white space on both sides of the image placeholder, so none of it
    becomes a token. It puts a blank before the first text, and before the text after the image only if it is
    `legacy`.

    Args:
        prompt_format: `keypoint`, `simple` or `llama2`.
        tokenizer: The tokenizer of the checkpoint.
        patches: Image tokens in a prompt.

    Returns:
        `{"format", "prefix", "suffix"}`; the suffix has the placeholders `{name}`, `{description}`,
        `{question}`.

    Raises:
        InvalidInputError: There is no such format.
    """
    wording = _wording(prompt_format)
    return {
        "format": prompt_format,
        "prefix": [
            {"tokens": [tokenizer.begin]},
            {"text": f" {wording.before.rstrip()}"},
            {"image": patches},
        ],
        "suffix": (" " if tokenizer.legacy else "") + wording.after.lstrip(),
    }


def encode_prompt(
    prompt: dict[str, Any],
    tokenizer: LlamaTokenizer,
    *,
    name: str,
    description: str = "",
    question: str = "",
) -> list[int]:
    """Token ids of one full prompt, the image as placeholder ids.

    Args:
        prompt: What `build_prompt` returned.
        tokenizer: The tokenizer it was built for.
        name: Name of the keypoint.
        description: Text for `{description}`.
        question: Text for `{question}`.

    Returns:
        The ids, the first of them the begin token.
    """
    ids: list[int] = []
    for segment in prompt["prefix"]:
        if "tokens" in segment:
            ids += segment["tokens"]
        elif "image" in segment:
            ids += [tokenizer.image] * segment["image"]
        else:
            ids += tokenizer.encode(segment["text"])
    return ids + tokenizer.encode(_fill(prompt["suffix"], name, description, question))


def prompt_string(
    prompt_format: str, patches: int, *, name: str, description: str = "", question: str = ""
) -> str:
    """The full prompt as the published code wrote it, before tokenisation.

    Args:
        prompt_format: `keypoint`, `simple` or `llama2`.
        patches: Image tokens in a prompt.
        name: Name of the keypoint.
        description: Text for `{description}`.
        question: Text for `{question}`.

    Raises:
        InvalidInputError: There is no such format.
    """
    wording = _wording(prompt_format)
    return wording.before + IMAGE_PLACEHOLDER * patches + _fill(wording.after, name, description, question)


def _wording(prompt_format: str) -> Wording:
    wording = PROMPT_FORMATS.get(prompt_format)
    if wording is None:
        raise InvalidInputError(
            f"[prompt] expected a prompt format out of {', '.join(PROMPT_FORMATS)}; got {prompt_format!r}; "
            "name one of them"
        )
    return wording


def _fill(template: str, name: str, description: str, question: str) -> str:
    """Puts texts in place of placeholders; braces inside the texts stay as they are."""
    values = {"name": name, "description": description, "question": question}
    return re.sub(r"\{(name|description|question)\}", lambda found: values[found[1]], template)
