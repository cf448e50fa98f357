# SPDX-License-Identifier: Apache-2.0
"""The C++ decoder over NumPy graphs against decoding without caches."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepose._core import IMAGE_TOKEN, Answer, DecoderDims, Decoding, DigitCodec, HostDecoder

from .numpy_decoder import (
    Form,
    Model,
    Sizes,
    Step,
    decode_constrained,
    decode_greedy,
    greedy_passes,
    random_model,
)
from .numpy_graphs import NumpyGraphs

END, ASK, OPEN, POINT, COMMA, CLOSE = 2, 3, 4, 5, 6, 7
DIGITS = list(range(20, 30))
ANSWER_HEAD = [OPEN, POINT, COMMA, CLOSE, *DIGITS]
TIE = 1e-4
"""Logits closer than this may be ranked either way: float32 against float64."""

# What makes an answer follow the form, at least for a while: tokens that are likely after another.
FOLLOW = (
    (ASK, OPEN),
    (OPEN, DIGITS[0]),
    (COMMA, DIGITS[0]),
    (DIGITS[0], POINT),
    *((POINT, digit) for digit in DIGITS[1:]),
    *((digit, after) for digit in DIGITS[1:] for after in (digit % 9 + 21, COMMA, CLOSE)),
    (CLOSE, END),
)

few = settings(max_examples=40, deadline=None, derandomize=True)


@dataclass(frozen=True, slots=True)
class Case:
    """A model and what it is asked."""

    model: Model
    places: tuple[int, ...]
    prefix: list[int]
    image: NDArray[np.float32]
    questions: list[list[int]]

    @property
    def form(self) -> Form:
        form: list[Sequence[int]] = []
        for places in self.places:
            form += [[COMMA if form else OPEN], [DIGITS[0]], [POINT], *[DIGITS] * places]
        return [*form, [CLOSE]]

    def prompt(self, question: list[int]) -> NDArray[np.float32]:
        image = iter(self.image)
        table = self.model.embeddings
        tokens = (*self.prefix, *question)
        return np.stack([next(image) if token == IMAGE_TOKEN else table[token] for token in tokens])

    def decoder(self, dtype: type[np.floating[Any]] = np.float32) -> tuple[HostDecoder, NumpyGraphs]:
        graphs = NumpyGraphs(self.model, ANSWER_HEAD)
        codec = make_codec(self.places)
        decoder = HostDecoder(
            graphs, make_dims(self.model.sizes), self.model.embeddings.astype(dtype), ANSWER_HEAD, codec
        )
        return decoder, graphs

    def decode(self, decoder: HostDecoder, *, exact: bool, max_tokens: int = 13) -> Decoding:
        return decoder.decode(
            prefix=self.prefix,
            image=self.image,
            questions=self.questions,
            exact=exact,
            max_tokens=max_tokens,
            end=END,
            max_positions=200,
        )


def make_dims(sizes: Sizes) -> DecoderDims:
    return DecoderDims(
        hidden=sizes.hidden,
        layers=sizes.layers,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        vocabulary=sizes.vocabulary,
        rope_theta=sizes.rope_theta,
    )


def make_codec(places: Sequence[int]) -> DigitCodec:
    return DigitCodec(
        places=places, open=OPEN, zero=DIGITS[0], point=POINT, comma=COMMA, close=CLOSE, digits=DIGITS
    )


def make_case(
    rng: np.random.Generator,
    model: Model,
    places: tuple[int, ...] = (3, 3),
    lengths: Sequence[int] = (4, 1, 9),
    prefix: Sequence[bool] = (False, True, True, False),
) -> Case:
    """`prefix`: whether each of its positions is an image row."""

    def words(count: int) -> list[int]:
        return [int(word) for word in rng.integers(30, model.sizes.vocabulary, count)]

    tokens = [
        IMAGE_TOKEN if is_image else word for is_image, word in zip(prefix, words(len(prefix)), strict=True)
    ]
    image = rng.standard_normal((sum(prefix), model.sizes.hidden)).astype(np.float32)
    return Case(model, places, tokens, image, [[*words(length - 1), ASK] for length in lengths])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kv_heads = draw(st.integers(1, 3))
    sizes = Sizes(
        hidden=draw(st.integers(4, 12)) * 4,
        layers=draw(st.integers(1, 3)),
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([2, 4, 6, 8, 16])),
        vocabulary=draw(st.integers(40, 90)),
        rope_theta=draw(st.sampled_from([100.0, 1e4, 5e6])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make_case(
        rng,
        random_model(sizes, rng, FOLLOW if draw(st.booleans()) else ()),
        draw(st.sampled_from([(3, 3), (3, 3), (1,), (2, 1), (1, 2, 3)])),
        draw(st.lists(st.integers(1, 12), min_size=1, max_size=5)),
        draw(st.lists(st.booleans(), min_size=1, max_size=12)),
    )


def compare(answer: Answer, steps: list[Step], tolerance: float = 1e-4, tie: float = TIE) -> bool:
    """Assert that they agree up to the first tie; True when there is none."""
    tied = next((place for place, step in enumerate(steps) if step.margin < tie), None)
    count = len(steps) if tied is None else tied
    assert answer.tokens[:count] == [step.token for step in steps[:count]]
    for choice, step in zip(answer.choices[:count], steps[:count], strict=True):
        assert choice.token == step.token
        assert choice.probability == pytest.approx(step.probability, abs=tolerance)
        assert choice.share == pytest.approx(step.share, abs=tolerance)
        assert choice.mean == pytest.approx(step.mean, abs=10 * tolerance)
        assert choice.variance == pytest.approx(step.variance, abs=100 * tolerance)
    if tied is None:
        assert len(answer.tokens) == len(steps)
    return tied is None


def expect_constrained(case: Case, decoding: Decoding) -> None:
    for question, answer in zip(case.questions, decoding.answers, strict=True):
        compare(answer, decode_constrained(case.model, case.prompt(question), case.form))
        assert answer.follows_form
        values = [number.value for number in make_codec(case.places).read(answer)]
        assert len(values) == len(case.places)
        assert all(0 <= value < 1 for value in values)
    passes = decoding.passes
    assert (passes.prefix, passes.suffix, passes.decode) == (1, 1, sum(case.places) - 1)


def expect_exact(case: Case, decoding: Decoding, max_tokens: int) -> None:
    certain = True
    behind_prefix = 0
    for question, answer in zip(case.questions, decoding.answers, strict=True):
        steps, follows = decode_greedy(case.model, case.prompt(question), case.form, DIGITS, END, max_tokens)
        if compare(answer, steps):
            assert answer.follows_form == follows
            behind_prefix = max(behind_prefix, greedy_passes(answer.tokens, case.form, max_tokens))
        else:
            certain = False
    assert (decoding.passes.prefix, decoding.passes.suffix) == (1, 1)
    if certain:
        assert decoding.passes.decode == behind_prefix - 1


@few
@given(cases())
def test_constrained_answers_equal_decoding_without_caches(case: Case) -> None:
    decoder, graphs = case.decoder()
    decoding = case.decode(decoder, exact=False)
    expect_constrained(case, decoding)
    assert graphs.runs.count("llm_decoder") == 1 + sum(case.places)
    assert graphs.runs.count("answer_head") == sum(case.places)
    assert graphs.runs.count("lm_head") == 0


@few
@given(cases(), st.sampled_from([13, 13, 13, 1, 5, 20]))
def test_exact_answers_equal_greedy_search_without_caches(case: Case, max_tokens: int) -> None:
    decoder, graphs = case.decoder()
    decoding = case.decode(decoder, exact=True, max_tokens=max_tokens)
    expect_exact(case, decoding, max_tokens)
    behind_prefix = 1 + decoding.passes.decode
    assert graphs.runs.count("llm_decoder") == 1 + behind_prefix
    assert graphs.runs.count("lm_head") == behind_prefix
    assert graphs.runs.count("answer_head") == 0


SIZES = Sizes(hidden=24, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=60)


def test_models_that_follow_the_form_are_among_the_cases() -> None:
    """The comparison would mean little if every draft were refused at its first token."""
    rng = np.random.default_rng(1)
    whole = partly = 0
    for _ in range(12):
        case = make_case(rng, random_model(SIZES, rng, FOLLOW), (1,), lengths=[3])
        answer = case.decode(case.decoder()[0], exact=True).answers[0]
        whole += answer.follows_form
        partly += answer.tokens[:2] == [OPEN, DIGITS[0]]
    assert whole > 0
    assert partly > whole


def test_one_decoder_answers_prompts_of_any_size() -> None:
    rng = np.random.default_rng(2)
    model = random_model(SIZES, rng, FOLLOW)
    decoder = make_case(rng, model).decoder()[0]
    for lengths, rows in (([3], 2), ([8, 1, 5, 2], 9), ([2, 2], 1), ([1] * 17, 4), ([30, 1, 1], 2)):
        case = make_case(rng, model, lengths=lengths, prefix=[False, *[True] * rows])
        expect_constrained(case, case.decode(decoder, exact=False))
        expect_exact(case, case.decode(decoder, exact=True), 13)


def test_float16_activations_agree_within_their_precision() -> None:
    rng = np.random.default_rng(3)
    model = random_model(SIZES, rng)
    case = make_case(rng, model, lengths=[4, 1, 9, 2, 6])
    half = Case(model, case.places, case.prefix, case.image.astype(np.float16), case.questions)
    decoding = half.decode(half.decoder(np.float16)[0], exact=False)
    whole = 0
    for question, answer in zip(case.questions, decoding.answers, strict=True):
        steps = decode_constrained(model, case.prompt(question), case.form)
        whole += compare(answer, steps, tolerance=0.02, tie=0.05)
    assert whole >= 2, "choose a seed without so many near ties"


def test_a_prefix_of_one_image_row_and_one_question_of_one_token() -> None:
    rng = np.random.default_rng(4)
    case = make_case(rng, random_model(SIZES, rng), lengths=[1], prefix=[True])
    decoder = case.decoder()[0]
    expect_constrained(case, case.decode(decoder, exact=False))
    expect_exact(case, case.decode(decoder, exact=True), 13)


def test_a_prefix_without_image_takes_none() -> None:
    rng = np.random.default_rng(5)
    case = make_case(rng, random_model(SIZES, rng), prefix=[False] * 3)
    decoder = case.decoder()[0]
    decoding = decoder.decode(
        prefix=case.prefix,
        image=None,
        questions=case.questions,
        exact=False,
        max_tokens=13,
        end=END,
        max_positions=100,
    )
    expect_constrained(case, decoding)


def test_embeddings_may_be_a_memory_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    case = make_case(rng, random_model(SIZES, rng))
    np.save(tmp_path / "embeddings.npy", case.model.embeddings)
    table = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    graphs = NumpyGraphs(case.model, ANSWER_HEAD)
    decoder = HostDecoder(graphs, make_dims(SIZES), table, ANSWER_HEAD, make_codec(case.places))
    expect_constrained(case, case.decode(decoder, exact=False))


def test_the_decoder_keeps_what_it_needs_and_no_longer() -> None:
    rng = np.random.default_rng(7)
    case = make_case(rng, random_model(SIZES, rng))
    decoder, graphs = case.decoder()
    seen = weakref.ref(graphs)
    del graphs
    gc.collect()
    expect_constrained(case, case.decode(decoder, exact=False))
    del decoder
    gc.collect()
    assert seen() is None


def test_answers_outlive_their_decoder() -> None:
    rng = np.random.default_rng(8)
    case = make_case(rng, random_model(SIZES, rng))
    answers = case.decode(case.decoder()[0], exact=False).answers
    gc.collect()
    assert [len(answer.tokens) for answer in answers] == [13, 13, 13]


def test_seconds_in_the_graphs_are_part_of_all() -> None:
    rng = np.random.default_rng(9)
    case = make_case(rng, random_model(SIZES, rng))
    seconds = case.decode(case.decoder()[0], exact=True).seconds
    total = seconds.prefix + seconds.suffix + seconds.decode
    assert 0 < seconds.graphs <= total
    assert min(seconds.prefix, seconds.suffix, seconds.decode) > 0
