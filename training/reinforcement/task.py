# SPDX-License-Identifier: Apache-2.0
"""Reinforcement fine-tuning as a task of the training loop.

Sampling, rewards and formulas are in files of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgepose.training.reinforcement.objective import answer_means, clipped_objective, low_variance_kl
from edgepose.training.reinforcement.rewards import Rewards, rewards_of
from edgepose.training.reinforcement.rollouts import Rollouts, mean_rewards, roll_out, truth_of
from edgepose.training.taihri.checkpoint import open_model, save_checkpoint
from edgepose.training.taihri.commands import COMMANDS
from edgepose.training.taihri.decoding import sample_answers
from edgepose.training.taihri.frames import Frames, patches_of
from edgepose.training.taihri.lessons import LessonMix, Question, draw_command, draw_question
from edgepose.training.taihri.model import TaihriModel
from edgepose.training.taihri.supervised import evaluate_arms

__all__ = ["ReinforcementRecipe", "ReinforcementTask", "reinforcement_task"]


@dataclass(frozen=True, slots=True)
class ReinforcementRecipe:
    """Numbers of reinforcement fine-tuning."""

    questions: int = 6
    """In one batch, each about a frame of its own."""
    answers: int = 8
    """Sampled to each question."""
    inner: int = 1
    """Steps with one batch of answers."""
    clip: float = 0.2
    """How far the policy may move from the one that sampled before a token stops to count."""
    kl: float = 0.02
    """Weight of the distance from the model that training began with."""
    temperature: float = 1.0
    rewards: Rewards = Rewards()
    mix: LessonMix = LessonMix(commands=0.5, most=6)
    """Kinds of questions; how many there are is said above."""


class ReinforcementTask:
    """A task of `edgepose.training.loop`."""

    def __init__(
        self,
        name: str,
        start: Path,
        recipe: ReinforcementRecipe,
        draw: Callable[[int, torch.Generator], Frames],
        validation: Sequence[Frames],
    ) -> None:
        """
        Args:
            name: For the log.
            start: Checkpoint to begin with, after supervised training; the reference of the KL term.
            recipe: Numbers.
            draw: Gives so many random frames of one size, on the CPU.
            validation: Frames, those of each entry of one size.

        Raises:
            InvalidInputError: The checkpoint is not that of a TAIHRI.
        """
        self.name, self.recipe = name, recipe
        self._start, self._draw, self._validation = start, draw, list(validation)
        self.pose, self.language = open_model(start)
        self.model: nn.Module = self.pose
        self._reference = copy.deepcopy(self.pose).eval().requires_grad_(False)
        self._rollouts: Rollouts | None = None
        self._steps_left = 0

    def batch(self, generator: torch.Generator) -> Rollouts:
        """Samples anew every `inner` steps; see `edgepose.training.loop.Task`."""
        if self._rollouts is None or self._steps_left == 0:
            frames, questions = self._ask(generator)
            self.model.eval()
            self._rollouts = roll_out(
                self.pose,
                self.language,
                frames,
                questions,
                self.recipe.rewards,
                times=self.recipe.answers,
                temperature=self.recipe.temperature,
                generator=generator,
            )
            self.model.train()
            self._steps_left = self.recipe.inner
        self._steps_left -= 1
        return self._rollouts

    def loss(self, batch: Rollouts) -> dict[str, Tensor]:
        """See `edgepose.training.loop.Task`; the first loss of a batch fixes what the ratio is to."""
        logs = self._logs(self.pose, batch)
        if batch.old is None:
            batch.old = logs.detach()
        if batch.reference is None:
            with torch.no_grad():
                batch.reference = self._logs(self._reference.to(logs.device), batch)
        of, answers = batch.packed.answer_of, len(batch.advantages)
        gain, ratio = clipped_objective(logs, batch.old, batch.advantages[of], clip=self.recipe.clip)
        distance = low_variance_kl(logs, batch.reference)
        loss = -answer_means(gain - self.recipe.kl * distance, of, answers).mean()
        return {
            "loss": loss,
            "kl": answer_means(distance, of, answers).mean(),
            "clipped": ((ratio - 1).abs() > self.recipe.clip).float().mean(),
            "samples": torch.tensor(answers),
            **{name: torch.tensor(value) for name, value in batch.rewards.items()},
        }

    def evaluate(self) -> dict[str, float]:
        """As in supervised training, and rewards of the most probable answers to commands."""
        found = evaluate_arms(self.pose, self.language, self._validation)
        return {**found, **self._evaluate_commands()}

    def save(self, folder: Path) -> Path:
        """See `edgepose.training.loop.Task`."""
        return save_checkpoint(self.pose, folder, files=self._start)

    def load(self, folder: Path) -> None:
        """Takes the policy's weights; the reference stays."""
        self.pose.load_state_dict(open_model(folder)[0].state_dict())

    def _ask(self, generator: torch.Generator) -> tuple[Frames, list[Question]]:
        """Frames with usable joints, and a question for each."""
        while True:
            frames = self._draw(self.recipe.questions, generator)
            usable = frames.usable
            frames, usable = frames[usable.any(1)], usable[usable.any(1)]
            if len(frames):
                break
        places = [row.nonzero()[:, 0].tolist() for row in usable]
        mix = replace(self.recipe.mix, questions=1)
        return frames, [draw_question(some, self.language, mix, generator) for some in places]

    def _logs(self, model: TaihriModel, batch: Rollouts) -> Tensor:
        """(M,) log-probabilities of the sampled tokens at the temperature of sampling."""
        hidden = model.read(model.see(batch.patches, *batch.size), batch.packed)
        logits = model.logits(hidden).float() / self.recipe.temperature
        return logits.log_softmax(-1).gather(1, batch.packed.targets[:, None])[:, 0]

    def _evaluate_commands(self) -> dict[str, float]:
        generator, parts = torch.Generator().manual_seed(0), []
        for frames in self._validation:
            usable = frames.usable
            questions, kept = [], []
            for index, row in enumerate(usable):
                command = COMMANDS[index % len(COMMANDS)]
                question = draw_command(command, row.nonzero()[:, 0].tolist(), self.language, generator)
                if question.joints:
                    questions.append(question)
                    kept.append(index)
            if not kept:
                continue
            some = frames[torch.tensor(kept)]
            height, width = some.pixels.shape[1:3]
            patches = patches_of(some.pixels, self.language.view).to(self.pose.device)
            rows = self.pose.see(patches, height, width)
            texts = [question.text for question in questions]
            most = max(len(self.language.format.places(question.joints)) for question in questions) + 8
            answers = sample_answers(self.pose, self.language, rows, texts, most=most, temperature=0)
            for index, (answer, question) in enumerate(zip(answers, questions, strict=True)):
                truth = truth_of(some, index, question, self.language)
                parts.append(rewards_of(self.language.format.read(answer), truth, self.recipe.rewards))
        return mean_rewards(parts)


def reinforcement_task(
    name: str,
    start: Path,
    options: Mapping[str, Any],
    draw: Callable[[int, torch.Generator], Frames],
    validation: Sequence[Frames],
) -> ReinforcementTask:
    """A task whose recipe is data: `options` has the fields of `ReinforcementRecipe`, `rewards` and `mix`
    those of `Rewards` and `LessonMix`.
    """
    rewards, mix = Rewards(**options.get("rewards", {})), LessonMix(**options.get("mix", {}))
    recipe = ReinforcementRecipe(**{**options, "rewards": rewards, "mix": mix})
    return ReinforcementTask(name, start, recipe, draw, validation)
