# SPDX-License-Identifier: Apache-2.0
"""Answers that the policy samples to questions about frames, with their rewards, packed for training.

Rewards and formulas are in files of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.training.reinforcement.objective import group_advantages
from edgepose.training.reinforcement.rewards import Rewards, Truth, rewards_of
from edgepose.training.taihri.decoding import sample_answers
from edgepose.training.taihri.frames import Frames, patches_of
from edgepose.training.taihri.language import Language
from edgepose.training.taihri.lessons import Question
from edgepose.training.taihri.model import TaihriModel
from edgepose.training.taihri.packing import Branch, Packed, Tree, pack

__all__ = ["Rollouts", "mean_rewards", "roll_out", "truth_of"]


@dataclass(slots=True)
class Rollouts:
    """Sampled answers, on the model's device."""

    patches: Tensor
    """(B, P, 3 * patch_size**2), one frame for each question."""
    size: tuple[int, int]
    """Height and width of the frames, pixels."""
    packed: Packed
    """One sequence for each question, one branch for each answer."""
    advantages: Tensor
    """(B * answers,) of the answers."""
    rewards: dict[str, float]
    """Means, of the parts and in all."""
    old: Tensor | None = None
    """(M,) log-probabilities of the tokens under the policy that sampled them; known at the first step."""
    reference: Tensor | None = None
    """(M,) log-probabilities under the reference; likewise."""


@torch.no_grad()
def roll_out(
    model: TaihriModel,
    language: Language,
    frames: Frames,
    questions: Sequence[Question],
    rewards: Rewards,
    *,
    times: int,
    temperature: float,
    generator: torch.Generator,
) -> Rollouts:
    """Samples answers without regard to the form: keeping to it is rewarded, not forced.

    Args:
        model: The policy.
        language: Of the same checkpoint.
        frames: One for each question, of one size, on the CPU.
        questions: With the joints that belong into their answers.
        rewards: Weights and scales.
        times: Answers to each question.
        temperature: Of sampling.
        generator: Chooses.
    """
    height, width = frames.pixels.shape[1:3]
    patches = patches_of(frames.pixels, language.view).to(model.device)
    rows = model.see(patches, height, width)
    most = max(len(language.format.places(question.joints)) for question in questions) + 8
    answers = sample_answers(
        model,
        language,
        rows,
        [question.text for question in questions],
        times=times,
        most=most,
        temperature=temperature,
        generator=generator,
    )
    parts = [
        rewards_of(
            language.format.read(answer),
            truth_of(frames, index // times, questions[index // times], language),
            rewards,
        )
        for index, answer in enumerate(answers)
    ]
    totals = torch.tensor([rewards.total(each) for each in parts]).view(-1, times)
    stem = language.stem(rows.embeddings.shape[1])
    trees = []
    for index, question in enumerate(questions):
        some = answers[index * times : (index + 1) * times]
        branches = tuple(Branch((), tuple(answer), (math.nan,) * len(answer)) for answer in some)
        trees.append(Tree(stem + language.suffix(question.text), branches))
    packed = pack(
        trees,
        image_token=language.image_token,
        rows=rows.rows,
        columns=rows.columns,
        pad=language.codec.pad,
    )
    return Rollouts(
        patches,
        (height, width),
        packed.to(model.device),
        group_advantages(totals).flatten().to(model.device),
        {"reward": float(totals.mean()), **mean_rewards(parts)},
    )


def truth_of(frames: Frames, index: int, question: Question, language: Language) -> Truth:
    """The right answer to a question about one of several frames."""
    height, width = frames.pixels.shape[1:3]
    codec = language.codec
    x, y, z = (high - low for low, high in (codec.x, codec.y, codec.z))
    xy, xyz = frames.xy[index].tolist(), frames.xyz[index].tolist()
    return Truth(question.joints, xy, xyz, (float(width), float(height)), (x, y, z))


def mean_rewards(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of what `rewards_of` returns, under `reward_` and its names."""
    names = parts[0] if parts else ()
    return {f"reward_{name}": sum(each[name] for each in parts) / len(parts) for name in names}
