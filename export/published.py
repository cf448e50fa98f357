# SPDX-License-Identifier: Apache-2.0
"""The published procedure of LocLLM and PoseLLM in plain PyTorch: full prompts, greedy decoding.

It is the oracle and the baseline of everything that is faster; nothing that is faster belongs here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.models import KeyValue, PoseModel
from edgepose.export.tokenizer import LlamaTokenizer

__all__ = ["Generated", "PublishedAnswers", "answer_prompts", "decode_answer", "generate"]

_NUMBER = re.compile(r"0\.\d+")
_CLEANUPS = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")


@dataclass(frozen=True, slots=True)
class Generated:
    """Result of greedy generation for a batch of prompts."""

    tokens: list[list[int]]
    """Per prompt as many ids as there were steps; padding after the end token."""
    scores: Tensor
    """(steps, prompts, vocabulary) float32 logits, of finished rows too."""
    vision_passes: int
    """Images that went through the encoder."""
    decoder_passes: int


@dataclass(frozen=True, slots=True)
class PublishedAnswers:
    """Answers of one person as the published evaluation reads them."""

    tokens: list[list[int]]
    texts: list[str]
    """Decoded, special tokens left out, stripped."""
    xy: list[tuple[float, float]]
    """Per prompt, in units of the crop's side, origin at its top-left corner; (0, 0) where nothing was
    found."""
    scores: list[float]
    """Per prompt, 0 to 1; NaN where the number stands behind the last step that counts."""
    vision_passes: int
    decoder_passes: int


@torch.no_grad()
def answer_prompts(
    model: PoseModel,
    tokenizer: LlamaTokenizer,
    prompts: Sequence[Sequence[int]],
    pixels: Tensor,
    *,
    max_new_tokens: int = 13,
    reencode: Literal["per-prompt", "per-step"] = "per-prompt",
    prefill_logits: Literal["last", "all"] = "last",
) -> PublishedAnswers:
    """Answers all questions about one crop.

    Args:
        model: The model.
        tokenizer: The tokenizer of its checkpoint.
        prompts: Full prompts as token ids, image placeholders included; of any lengths.
        pixels: (3, size, size) or (1, 3, size, size), the normalised crop.
        max_new_tokens: Longest answer.
        reencode: `per-prompt` encodes the image once for every prompt; `per-step` does so again at every
            further decoding step and discards the result, as the published code does.
        prefill_logits: `all` computes logits at every position of the prompts, as the published code does.

    Returns:
        Tokens, texts, places and scores, in the order of the prompts.

    Raises:
        InvalidInputError: A prompt does not hold the image in one run of placeholders.

    Source: LocLLM `utils/valid2d.py`, `models/locllm.py`; generation of `transformers` 4.31.
    """
    generated = generate(
        model,
        prompts,
        pixels,
        end=tokenizer.end,
        pad=tokenizer.pad,
        max_new_tokens=max_new_tokens,
        reencode=reencode,
        prefill_logits=prefill_logits,
    )
    texts = [_text(tokenizer, ids) for ids in generated.tokens]
    places = [decode_answer(text, generated.scores[:, row]) for row, text in enumerate(texts)]
    return PublishedAnswers(
        tokens=generated.tokens,
        texts=texts,
        xy=[xy for xy, _ in places],
        scores=[score for _, score in places],
        vision_passes=generated.vision_passes,
        decoder_passes=generated.decoder_passes,
    )


@torch.no_grad()
def generate(
    model: PoseModel,
    prompts: Sequence[Sequence[int]],
    pixels: Tensor,
    *,
    end: int,
    pad: int,
    max_new_tokens: int = 13,
    reencode: Literal["per-prompt", "per-step"] = "per-prompt",
    prefill_logits: Literal["last", "all"] = "last",
) -> Generated:
    """Greedy generation for a batch of prompts about one crop; arguments as for `answer_prompts`.

    Args:
        end: Id that finishes a row.
        pad: Id that fills prompts on the left and finished rows on the right.

    Returns:
        Generation ends early when every row has finished.
    """
    ids, mask = _pad_left(prompts, pad)
    _check_image_run(ids, model.config.image_token, model.config.vision.patches)
    crops = pixels.reshape(1, *pixels.shape[-3:]).expand(len(prompts), -1, -1, -1)
    image = model.encode_image(crops)
    vision_passes = len(prompts)

    # Padding has mask 0 and takes position 1 by convention; it is attended to by nobody else.
    positions = (mask.cumsum(1) - 1).masked_fill(mask == 0, 1)
    past: list[KeyValue] | None = None
    embeddings = model.embed(ids, image)
    unfinished = torch.ones(len(prompts), dtype=torch.bool)
    chosen: list[Tensor] = []
    scores: list[Tensor] = []
    for step in range(max_new_tokens):
        if step > 0:
            if reencode == "per-step":
                model.encode_image(crops)
                vision_passes += len(prompts)
            embeddings = model.embed(chosen[-1].unsqueeze(1))
        hidden, past = model.decoder(embeddings, positions=positions, mask=mask, past=past)
        if prefill_logits == "last":
            hidden = hidden[:, -1:]
        logits = model.lm_head(hidden)[:, -1].float()
        scores.append(logits)
        token = torch.where(unfinished, logits.argmax(-1), pad)
        chosen.append(token)
        unfinished = unfinished & (token != end)
        if not bool(unfinished.any()):
            break
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        positions = positions[:, -1:] + 1
    tokens: list[list[int]] = torch.stack(chosen, dim=1).tolist()
    return Generated(tokens, torch.stack(scores), vision_passes, len(chosen))


def decode_answer(text: str, scores: Tensor) -> tuple[tuple[float, float], float]:
    """Reads one answer the way the published evaluation does, its peculiarities included.

    Args:
        text: The answer, stripped.
        scores: (steps, vocabulary) logits of all steps of the batch.

    Returns:
        (x, y) in units of the crop's side, and the score.
    """
    numbers = _NUMBER.findall(text)
    if not numbers:
        return (0.0, 0.0), 0.0  # the point stays at the crop's corner
    # The scores of the last step are left out, whatever it produced.
    probability = scores[:-1].softmax(-1).amax(-1)

    def confidence(number: str) -> float:
        # Characters are counted as if each were one step. A number that occurs twice is found at its first
        # place both times. Behind the last step nothing is left, and the mean of nothing is NaN.
        start = text.find(number)
        return float(probability[start : start + len(number)].mean())

    if len(numbers) == 1:
        return (float(numbers[0]), 0.0), confidence(numbers[0]) / 2
    x, y = numbers[:2]
    return (float(x), float(y)), (confidence(x) + confidence(y)) / 2


def _text(tokenizer: LlamaTokenizer, ids: list[int]) -> str:
    text = tokenizer.decode(ids)
    if tokenizer.cleanup_spaces:
        for blank in _CLEANUPS[:4]:
            text = text.replace(blank, blank[1:])
        text = text.replace(" ' ", "'")
        for blank in _CLEANUPS[4:]:
            text = text.replace(blank, blank[1:])
    return text.strip()


def _pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, each (N, longest) int64."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt, dtype=torch.int64)
        mask[row, longest - len(prompt) :] = 1
    return ids, mask


def _check_image_run(ids: Tensor, image_token: int, patches: int) -> None:
    for row in range(ids.shape[0]):
        places = (ids[row] == image_token).nonzero().flatten()
        if len(places) != patches or int(places[-1] - places[0]) + 1 != patches:
            raise InvalidInputError(
                f"[published] expected {patches} consecutive image tokens {image_token} in prompt {row}; got "
                f"{len(places)} at {places[:3].tolist()}...; build prompts with edgepose.export.prompts"
            )
