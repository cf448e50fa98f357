# SPDX-License-Identifier: Apache-2.0
"""A model, what it is asked and how it may answer: for the C++ decoder over NumPy graphs, and for NumPy.

Tests do not belong here, nor which models and prompts they take.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose import _core
from edgepose._core import IMAGE_TOKEN, Answer, DecoderDims, Decoding, HostDecoder

from .answer_forms import Form
from .numpy_decoder import (
    Model,
    Prompt,
    Sizes,
    Step,
    decode_constrained,
    decode_greedy,
    greedy_passes,
    place_tokens,
)
from .numpy_graphs import NumpyGraphs

TIE = 1e-4
"""Logits closer than this may be ranked either way: float32 against float64."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One form, as the core has it and written out."""

    alphabets: list[list[int]]
    form: _core.Form
    expected: Form
    numbers: list[int]
    """Tokens of digits or bins."""
    end: int

    @property
    def head(self) -> list[int]:
        return sorted({token for alphabet in self.alphabets for token in alphabet})


@dataclass(frozen=True, slots=True)
class Case:
    """A model and what it is asked."""

    model: Model
    answers: Answers
    prefix: list[int]
    image: NDArray[np.float32]
    questions: list[list[int]]
    grid: tuple[int, int] | None = None
    features: tuple[NDArray[np.float32], ...] = ()
    penalty: float = 1.0
    penalise_numbers: bool = False
    image_token: int = -1

    def prompt(self, question: list[int]) -> Prompt:
        """A question behind the prefix, for NumPy."""
        tokens = (*self.prefix, *question)
        is_image = [token == IMAGE_TOKEN for token in tokens]
        table = self.model.embeddings
        embeddings = table[[0 if image else token for image, token in zip(is_image, tokens, strict=True)]]
        embeddings[is_image] = self.image
        features = np.zeros((self.model.sizes.deepstack, *embeddings.shape))
        for target, rows in zip(features, self.features, strict=True):
            target[is_image] = rows
        return Prompt(
            tuple(
                self.image_token if image else token for image, token in zip(is_image, tokens, strict=True)
            ),
            embeddings,
            place_tokens(is_image, self.grid),
            features,
        )

    def decoder(self, dtype: type[np.floating[Any]] = np.float32) -> tuple[HostDecoder, NumpyGraphs]:
        """The decoder of the core, and what it runs."""
        head = self.answers.head
        graphs = NumpyGraphs(self.model, head)
        embeddings = self.model.embeddings.astype(dtype)
        dims = make_dims(self.model.sizes)
        return HostDecoder(graphs, dims, embeddings, head, self.answers.alphabets), graphs

    def decode(
        self,
        decoder: HostDecoder,
        *,
        exact: bool,
        max_tokens: int = 13,
        drafts: Sequence[Sequence[int]] = (),
        offers: Sequence[int] = (),
    ) -> Decoding:
        return decoder.decode(
            form=self.answers.form,
            prefix=self.prefix,
            image=self.image,
            image_grid=self.grid,
            deepstack=self.features,
            questions=self.questions,
            drafts=drafts,
            offers=offers,
            exact=exact,
            max_tokens=max_tokens,
            end=self.answers.end,
            max_positions=1000,
            repetition_penalty=self.penalty,
            penalise_numbers=self.penalise_numbers,
            image_token=self.image_token,
        )

    def changed(self, **changes: Any) -> Case:
        return dataclasses.replace(self, **changes)


def make_dims(sizes: Sizes) -> DecoderDims:
    return DecoderDims(**{field.name: getattr(sizes, field.name) for field in dataclasses.fields(sizes)})


def make_case(
    rng: np.random.Generator,
    model: Model,
    answers: Answers,
    *,
    ask: int,
    first_word: int = 30,
    lengths: Sequence[int] = (4, 1, 9),
    prefix: Sequence[bool] = (False, True, True, False),
    grid: tuple[int, int] | None = None,
) -> Case:
    """A random prompt.

    Args:
        ask: the last token of each question.
        first_word: tokens below have a role in answers.
        prefix: whether each of its positions is an image row.
    """
    sizes = model.sizes

    def words(count: int) -> list[int]:
        return [int(word) for word in rng.integers(first_word, sizes.vocabulary, count)]

    tokens = [
        IMAGE_TOKEN if is_image else word for is_image, word in zip(prefix, words(len(prefix)), strict=True)
    ]
    rows = sum(prefix)
    image, *features = rng.standard_normal((1 + sizes.deepstack, rows, sizes.hidden)).astype(np.float32)
    return Case(
        model,
        answers,
        tokens,
        image,
        [[*words(length - 1), ask] for length in lengths],
        grid=grid,
        features=tuple(features) if rows else (),
    )


def compare(
    answer: Answer,
    steps: list[Step],
    *,
    measured: Sequence[int] | None = None,
    tolerance: float = 1e-4,
    tie: float = TIE,
) -> bool:
    """Assert that they agree up to the first tie; True when there is none.

    Args:
        measured: tokens whose place in their alphabet counts; None for all.
    """
    tied = next((place for place, step in enumerate(steps) if step.margin < tie), None)
    count = len(steps) if tied is None else tied
    assert answer.tokens[:count] == [step.token for step in steps[:count]]
    for choice, step in zip(answer.choices[:count], steps[:count], strict=True):
        assert choice.token == step.token
        assert choice.probability == pytest.approx(step.probability, abs=tolerance)
        if measured is not None and step.token not in measured:
            continue
        assert choice.share == pytest.approx(step.share, abs=tolerance)
        assert choice.mean == pytest.approx(step.mean, abs=10 * tolerance)
        assert choice.variance == pytest.approx(step.variance, abs=100 * tolerance)
    if tied is None:
        assert len(answer.tokens) == len(steps)
    return tied is None


def expect_constrained(
    case: Case, decoding: Decoding, measured: Sequence[int] | None = None, *, drafted: bool = False
) -> None:
    """The answers are those of decoding without caches, in as many passes as the longest has free tokens.

    `drafted`: in no more passes.
    """
    certain, free = True, 0
    for question, answer in zip(case.questions, decoding.answers, strict=True):
        steps = decode_constrained(
            case.model,
            case.prompt(question),
            case.answers.expected,
            penalty=case.penalty,
            penalise_numbers=case.penalise_numbers,
        )
        certain = compare(answer, steps, measured=measured) and certain
        assert answer.follows_form
        assert case.answers.expected(answer.tokens) is None
        free = max(free, sum(step.margin < np.inf for step in steps))
    passes = decoding.passes
    assert (passes.prefix, passes.suffix) == (1, 1)
    if certain:
        assert passes.decode <= free - 1 if drafted else passes.decode == free - 1


def expect_exact(
    case: Case,
    decoding: Decoding,
    max_tokens: int,
    measured: Sequence[int] | None = None,
    *,
    drafted: bool = False,
) -> None:
    """The answers are those of greedy search without caches, in as few passes as forced tokens allow.

    `drafted`: in no more passes, but the one that a draft outside of the form may cost.
    """
    certain, behind_prefix = True, 0
    answers = case.answers
    for question, answer in zip(case.questions, decoding.answers, strict=True):
        steps, follows = decode_greedy(
            case.model,
            case.prompt(question),
            answers.expected,
            answers.numbers,
            answers.end,
            max_tokens,
            penalty=case.penalty,
        )
        if compare(answer, steps, measured=measured):
            assert answer.follows_form == follows
            passes = greedy_passes(answer.tokens, answers.expected, answers.end, max_tokens)
            behind_prefix = max(behind_prefix, passes)
        else:
            certain = False
    assert (decoding.passes.prefix, decoding.passes.suffix) == (1, 1)
    if certain:
        decode = decoding.passes.decode
        assert decode <= behind_prefix if drafted else decode == behind_prefix - 1
