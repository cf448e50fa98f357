# SPDX-License-Identifier: Apache-2.0
"""Questions and answers about frames: which joints are asked for, or which command is given.

Laying them out as sequences does not belong here: see `packing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edgepose.training.taihri.commands import COMMANDS, Command, draw_joints, draw_wording
from edgepose.training.taihri.frames import Frames
from edgepose.training.taihri.language import Language
from edgepose.training.taihri.packing import Branch, Tree

__all__ = ["LessonMix", "Question", "draw_command", "draw_question", "draw_trees", "tree_of"]


@dataclass(frozen=True, slots=True)
class LessonMix:
    """How many questions of which kind a frame gets."""

    questions: int = 3
    """About one frame, in one sequence."""
    commands: float = 0.25
    """Share of questions that are commands; the others ask for joints by name."""
    arms: float = 0.5
    """Share of questions for joints that are for joints of the arms only."""
    most: int = 12
    """Most joints of one question by name."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the joints that belong into its answer."""

    text: str
    joints: tuple[int, ...]
    """Places in the codec's list of joints, in the order of the answer."""


def draw_question(
    usable: Sequence[int], language: Language, mix: LessonMix, generator: torch.Generator
) -> Question:
    """A random question about a frame.

    Args:
        usable: Places of the joints that can be answered, at least one.
        language: Names and wording.
        mix: Kinds of questions.
        generator: Chooses.
    """
    if torch.rand((), generator=generator) < mix.commands:
        command = COMMANDS[int(torch.randint(len(COMMANDS), (), generator=generator))]
        question = draw_command(command, usable, language, generator)
        if question.joints:
            return question
    allowed = [language.joints[place] for place in usable]
    names = draw_joints(generator, allowed, favoured=mix.arms, most=mix.most)
    return Question(language.asked(names), tuple(language.joints.index(name) for name in names))


def draw_command(
    command: Command, usable: Sequence[int], language: Language, generator: torch.Generator
) -> Question:
    """A command in random words; joints that cannot be answered are left out, maybe all of them."""
    text, names = draw_wording(command, generator)
    places = [language.joints.index(name) for name in names]
    return Question(text, tuple(place for place in places if place in usable))


def draw_trees(
    frames: Frames, image_tokens: int, language: Language, mix: LessonMix, generator: torch.Generator
) -> list[Tree]:
    """For each frame a sequence of random questions with their answers; none where no joint is usable.

    Args:
        frames: On the CPU.
        image_tokens: Of each frame.
        language: Prompts and answers.
        mix: Kinds of questions.
        generator: Chooses.
    """
    usable = frames.usable.tolist()
    trees = []
    for index in range(len(frames)):
        places = [place for place, use in enumerate(usable[index]) if use]
        count = mix.questions if places else 0
        questions = [draw_question(places, language, mix, generator) for _ in range(count)]
        trees.append(tree_of(frames, index, questions, image_tokens, language))
    return trees


def tree_of(
    frames: Frames, index: int, questions: Sequence[Question], image_tokens: int, language: Language
) -> Tree:
    """Questions about one frame with the answers that are right."""
    box, xy, xyz = (each[index].tolist() for each in (frames.box, frames.xy, frames.xyz))
    branches = []
    for question in questions:
        written = language.format.write(box, question.joints, xy, xyz)
        branches.append(Branch(language.suffix(question.text), written.ids, written.shares))
    return Tree(language.stem(image_tokens), tuple(branches))
