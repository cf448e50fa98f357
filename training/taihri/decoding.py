# SPDX-License-Identifier: Apache-2.0
"""Answers of a model in training: sampled or greedy, one token after the other, many sequences at a time.

Fast decoding on devices is the runtime's; what answers mean is in `answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.export.models import KeyValue
from edgepose.training.taihri.language import Language
from edgepose.training.taihri.model import FrameRows, TaihriModel
from edgepose.training.taihri.packing import rope_positions

__all__ = ["Located", "locate", "sample_answers"]

_Choose = Callable[[Tensor, int], Tensor]
"""From logits (N, vocabulary) and the number of the token to ids (N,)."""


@dataclass(frozen=True, slots=True)
class Located:
    """Joints that were asked for, in that order, of several frames."""

    box: Tensor
    """(N, 4) shares of the frame."""
    xy: Tensor
    """(N, J, 2) shares of the frame."""
    xyz: Tensor
    """(N, J, 3) shares of the ranges."""
    expected_xyz: Tensor
    """(N, J, 3), expectation over the bins instead of the most probable one."""


@torch.no_grad()
def locate(model: TaihriModel, language: Language, frames: FrameRows, joints: Sequence[int]) -> Located:
    """Asks for joints by name and decodes greedily, keeping to the form: only numbers are free.

    Args:
        model: Of the checkpoint.
        language: Of the same.
        frames: N frames of one size.
        joints: Places in the codec's list of joints.
    """
    count, device = len(frames.embeddings), model.device
    prompt = language.stem(frames.embeddings.shape[1]) + language.suffix(
        language.asked([language.joints[joint] for joint in joints])
    )
    places = language.format.places(joints)
    bins = torch.tensor(language.codec.bins, device=device)
    scale = torch.linspace(0, 1, len(bins), device=device)
    best: list[Tensor] = []
    expected: list[Tensor] = []

    def choose(logits: Tensor, number: int) -> Tensor:
        forced = places[number]
        if forced is not None:
            return torch.full((count,), forced, device=device)
        shares = logits[:, bins].float().softmax(-1)
        found = shares.argmax(-1)
        best.append(scale[found])
        expected.append(shares @ scale)
        return bins[found]

    _run(model, language, frames, [prompt] * count, choose, len(places))
    numbers, means = torch.stack(best, dim=1), torch.stack(expected, dim=1)
    middle = 4 + 2 * len(joints)
    return Located(
        numbers[:, :4],
        numbers[:, 4:middle].view(count, -1, 2),
        numbers[:, middle:].view(count, -1, 3),
        means[:, middle:].view(count, -1, 3),
    )


@torch.no_grad()
def sample_answers(
    model: TaihriModel,
    language: Language,
    frames: FrameRows,
    questions: Sequence[str],
    *,
    times: int = 1,
    most: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Answers in whatever form the model chooses.

    Args:
        model: Of the checkpoint.
        language: Of the same.
        frames: One for each question, of one size.
        questions: In words.
        times: Answers to each question.
        most: Longest answer, tokens.
        temperature: What logits are divided by; 0 takes the most probable token.
        generator: Of the CPU; chooses. Needed unless the temperature is 0.

    Returns:
        `times` answers for each question, one behind the other: token ids up to the end token, which is there
        unless the answer is longest.
    """
    stem = language.stem(frames.embeddings.shape[1])
    prompts = [stem + language.suffix(question) for question in questions]
    answers: list[list[int]] = [[] for _ in range(times * len(questions))]
    going = torch.ones(len(answers), dtype=torch.bool)

    def choose(logits: Tensor, number: int) -> Tensor:
        if temperature == 0:
            ids = logits.argmax(-1).cpu()
        else:
            shares = (logits.float() / temperature).softmax(-1).cpu()
            ids = torch.multinomial(shares, 1, generator=generator)[:, 0]
        for place in going.nonzero()[:, 0].tolist():
            answers[place].append(int(ids[place]))
        going.logical_and_(ids != language.codec.end)
        return ids.to(logits.device)

    _run(model, language, frames, prompts, choose, most, times=times, finished=lambda: not bool(going.any()))
    return answers


def _run(
    model: TaihriModel,
    language: Language,
    frames: FrameRows,
    prompts: Sequence[tuple[int, ...]],
    choose: _Choose,
    most: int,
    *,
    times: int = 1,
    finished: Callable[[], bool] = lambda: False,
) -> None:
    """Runs prompts once, then each of them on `times` ways, a token at a time."""
    device, longest = model.device, max(map(len, prompts))
    ids = torch.full((len(prompts), longest), language.codec.pad)
    positions = torch.zeros(3, len(prompts), longest, dtype=torch.int64)
    following = torch.zeros(len(prompts), dtype=torch.int64)
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    for line, prompt in enumerate(prompts):
        ids[line, : len(prompt)] = torch.tensor(prompt)
        places, following[line] = rope_positions(prompt, language.image_token, frames.rows, frames.columns)
        positions[:, line, : len(prompt)] = places
    mask = torch.arange(longest) < lengths[:, None]
    embeddings, deepstack = model.insert(frames, ids.to(device), prompts[0].index(language.image_token))
    hidden, past = model.decoder(
        embeddings, positions=positions.to(device), mask=mask.to(device), deepstack=deepstack
    )
    logits = model.logits(hidden[torch.arange(len(prompts)), lengths - 1])

    def repeated(tensor: Tensor) -> Tensor:
        return tensor.repeat_interleave(times, dim=0) if times > 1 else tensor

    logits, following, mask = repeated(logits), repeated(following).to(device), repeated(mask).to(device)
    cache: list[KeyValue] = [(repeated(key), repeated(value)) for key, value in past]
    for number in range(most):
        chosen = choose(logits, number)
        if finished() or number + 1 == most:
            return
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        logits, cache = model.step(chosen, following + number, mask, cache)
