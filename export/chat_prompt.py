# SPDX-License-Identifier: Apache-2.0
"""Turns the chat template of a checkpoint into the segments of a prompt that a bundle stores.

Filling in questions at run time does not belong here; prompts without a template are in
`edgepose.export.prompts`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from edgepose.bundle import PromptSegment, PromptSpec
from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import read_json_object
from edgepose.export.tokenizer import ByteLevelTokenizer

__all__ = ["ChatTemplate", "ChatWording", "build_chat_prompt", "load_chat_template"]

_QUESTION = "EdgePoseQuestion"
"""Stands for the question while a template is taken apart."""

_PROBES = ("Shake my hand.", 'Où est "left_wrist", 3 cm à droite?\nAnd the other one?', "x")
"""Questions whose ids must come out alike from the template as a whole and from its segments."""


@dataclass(frozen=True, slots=True)
class ChatWording:
    """What a family says in its chats, byte for byte."""

    system: str
    """The system message."""
    image: str
    """The token that stands for an image in the rendered text."""
    rendered: str
    """The text of one question, `{image}` and `{question}` in place, where a checkpoint has no template."""
    asked: str
    """The question for joints with the placeholder `{names}`."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A Jinja template and the file it was read from."""

    text: str
    source: Path

    def render(self, wording: ChatWording, question: str, tokens: dict[str, str]) -> str:
        """The text of one question about one image, ready for the answer.

        Args:
            wording: The family's.
            question: What is asked.
            tokens: Special tokens by role, such as `eos_token`, which templates may name.

        Raises:
            InvalidInputError: The template cannot be rendered.
        """
        content = [{"type": "image"}, {"type": "text", "text": question}]
        messages = [
            {"role": "system", "content": wording.system},
            {"role": "user", "content": content},
        ]
        try:
            # Jinja comes with PyTorch; only this kind of checkpoint has a use for it.
            from jinja2 import ext, sandbox

            environment = sandbox.ImmutableSandboxedEnvironment(
                trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols]
            )
            environment.filters["tojson"] = _to_json
            environment.globals["raise_exception"] = _raise_exception
            template = environment.from_string(self.text)
            return template.render(messages=messages, add_generation_prompt=True, **tokens)
        except Exception as error:  # a template may do anything wrong
            raise InvalidInputError(
                f"[prompt] expected the chat template of {self.source} to render a system message, an image "
                f"and a question; got {type(error).__name__}: {error}; use the template that the checkpoint "
                "was trained with"
            ) from error


def load_chat_template(path: str | os.PathLike[str]) -> ChatTemplate | None:
    """Finds the chat template of a checkpoint directory.

    Args:
        path: Directory with `chat_template.jinja`, `chat_template.json` or a `chat_template` in
            `tokenizer_config.json`; the first of them counts, as in `transformers`.

    Returns:
        The template, or None where there is none.

    Raises:
        InvalidInputError: A file does not hold what its name says.
    """
    folder = Path(path)
    plain = folder / "chat_template.jinja"
    if plain.is_file():
        try:
            return ChatTemplate(plain.read_text(encoding="utf-8"), plain)
        except (OSError, UnicodeDecodeError) as error:
            _refuse_template(plain, str(error), error)
    for name in ("chat_template.json", "tokenizer_config.json"):
        file = folder / name
        value = (
            read_json_object(file, "download the file again").get("chat_template") if file.exists() else None
        )
        if isinstance(value, list):  # several templates, each with a name
            named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
            value = named.get("default", value)
        if isinstance(value, str):
            return ChatTemplate(value, file)
        if value is not None:
            _refuse_template(file, f"{type(value).__name__} {str(value)[:80]!r}")
    return None


def build_chat_prompt(
    path: str | os.PathLike[str], tokenizer: ByteLevelTokenizer, wording: ChatWording
) -> PromptSpec:
    """The prompt of a checkpoint: token ids around an image of any size and around a question.

    Questions are encoded as plain text: `<|im_end|>` in a question is eight characters and no special token,
    while `transformers` would end the message there. All other ids are those of `transformers`.

    Args:
        path: The checkpoint.
        tokenizer: Its tokenizer.
        wording: The family's.

    Raises:
        InvalidInputError: The template is unusable, renders not exactly one image and one question, or sets
            them so that their ids depend on what is beside them.
    """
    template = load_chat_template(path)
    settings = Path(path) / "tokenizer_config.json"
    tokens = _special_tokens(settings)

    def render(question: str) -> str:
        if template is None:
            return wording.rendered.replace("{image}", wording.image).replace("{question}", question)
        return template.render(wording, question, tokens)

    where = "the published prompt" if template is None else f"the chat template of {template.source}"
    rendered = render(_QUESTION)
    counts = {name: rendered.count(name) for name in (wording.image, _QUESTION)}
    if set(counts.values()) != {1} or rendered.index(wording.image) > rendered.index(_QUESTION):
        raise InvalidInputError(
            f"[prompt] expected {where} to render one {wording.image} and the question behind it; got "
            f"{counts[wording.image]} images and {counts[_QUESTION]} questions in {rendered[:200]!r}; use "
            "the template that the checkpoint was trained with"
        )
    before, _, rest = rendered.partition(wording.image)
    between, _, after = rest.partition(_QUESTION)
    lead, trail = _last_token_end(tokenizer, between), _first_token_start(tokenizer, after)
    spec = PromptSpec(
        format="chat",
        prefix=(
            *_tokens(tokenizer, before),
            PromptSegment(image=0),
            *_tokens(tokenizer, between[:lead]),
        ),
        suffix=between[lead:] + "{question}" + after[:trail],
        ending=_tokens(tokenizer, after[trail:]),
        asked=wording.asked,
        image_token=tokenizer.ids([[wording.image]])[0][0],
    )
    for question in _PROBES:
        whole, parts = tokenizer.encode_marked(render(question)), _assemble(spec, tokenizer, question)
        if whole != parts:
            raise InvalidInputError(
                f"[prompt] expected {where} to set the question {question!r} so that its ids stand for "
                f"themselves; got {parts} in place of {whole}; use the template and the tokenizer files that "
                "the checkpoint was trained with"
            )
    return spec


def _assemble(spec: PromptSpec, tokenizer: ByteLevelTokenizer, question: str) -> list[int]:
    """Ids of a prompt as a runtime puts them together, with one id for the image."""
    ids: list[int] = []
    for segment in spec.prefix:
        ids += [spec.image_token or 0] if segment.image is not None else (segment.tokens or ())
    ids += tokenizer.encode(spec.suffix.replace("{question}", question))
    for segment in spec.ending:
        ids += segment.tokens or ()
    return ids


def _tokens(tokenizer: ByteLevelTokenizer, text: str) -> tuple[PromptSegment, ...]:
    ids = tuple(tokenizer.encode_marked(text))
    return (PromptSegment(tokens=ids),) if ids else ()


def _last_token_end(tokenizer: ByteLevelTokenizer, text: str) -> int:
    """Where the last added token of a text ends; what follows it is encoded together with the question."""
    return max((end for _, end in tokenizer.added_tokens(text)), default=0)


def _first_token_start(tokenizer: ByteLevelTokenizer, text: str) -> int:
    """Where the first added token of a text begins."""
    return min((start for start, _ in tokenizer.added_tokens(text)), default=len(text))


def _special_tokens(settings: Path) -> dict[str, str]:
    stored = read_json_object(settings, "download the file again") if settings.exists() else {}
    found = {}
    for role in ("bos_token", "eos_token", "pad_token", "unk_token"):
        token = stored.get(role)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            found[role] = text
    return found


def _to_json(value: object, indent: int | None = None) -> str:
    """The filter as chat templates use it: unlike Jinja's own, it escapes nothing for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    """Lets templates refuse what they are given."""
    raise ValueError(message)


def _refuse_template(file: Path, got: str, cause: Any = None) -> NoReturn:
    raise InvalidInputError(
        f"[prompt] expected {file} to hold a chat template as text; got {got}; download the file again"
    ) from cause
