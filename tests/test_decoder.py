# SPDX-License-Identifier: Apache-2.0
"""The C++ decoder over NumPy graphs against decoding without caches."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose._core import DigitCodec, HostDecoder

from .answer_forms import digit_form
from .decoder_cases import Answers, Case, compare, expect_constrained, expect_exact, make_case, make_dims
from .numpy_decoder import Model, Sizes, decode_constrained, random_model
from .numpy_graphs import NumpyGraphs

END, ASK, OPEN, POINT, COMMA, CLOSE = 2, 3, 4, 5, 6, 7
DIGITS = list(range(20, 30))

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


def digits(*places: int) -> Answers:
    codec = DigitCodec(
        places=places, open=OPEN, zero=DIGITS[0], point=POINT, comma=COMMA, close=CLOSE, digits=DIGITS
    )
    expected = digit_form(places, open=OPEN, point=POINT, comma=COMMA, close=CLOSE, digits=DIGITS)
    return Answers(codec.alphabets, codec.form, expected, DIGITS, END)


def make(
    rng: np.random.Generator,
    model: Model,
    places: tuple[int, ...] = (3, 3),
    lengths: Sequence[int] = (4, 1, 9),
    prefix: Sequence[bool] = (False, True, True, False),
) -> Case:
    return make_case(rng, model, digits(*places), ask=ASK, lengths=lengths, prefix=prefix)


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
    return make(
        rng,
        random_model(sizes, rng, FOLLOW if draw(st.booleans()) else ()),
        draw(st.sampled_from([(3, 3), (3, 3), (1,), (2, 1), (1, 2, 3)])),
        draw(st.lists(st.integers(1, 12), min_size=1, max_size=5)),
        draw(st.lists(st.booleans(), min_size=1, max_size=12)),
    )


@few
@given(cases())
def test_constrained_answers_equal_decoding_without_caches(case: Case) -> None:
    decoder, graphs = case.decoder()
    decoding = case.decode(decoder, exact=False)
    expect_constrained(case, decoding)
    free = case.answers.form.looks
    assert decoding.passes.decode == free - 1
    assert graphs.runs.count("llm_decoder") == 1 + free
    assert graphs.runs.count("answer_head") == free
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
        case = make(rng, random_model(SIZES, rng, FOLLOW), (1,), lengths=[3])
        answer = case.decode(case.decoder()[0], exact=True).answers[0]
        whole += answer.follows_form
        partly += answer.tokens[:2] == [OPEN, DIGITS[0]]
    assert whole > 0
    assert partly > whole


def test_one_decoder_answers_prompts_of_any_size() -> None:
    rng = np.random.default_rng(2)
    model = random_model(SIZES, rng, FOLLOW)
    decoder = make(rng, model).decoder()[0]
    for lengths, rows in (([3], 2), ([8, 1, 5, 2], 9), ([2, 2], 1), ([1] * 17, 4), ([30, 1, 1], 2)):
        case = make(rng, model, lengths=lengths, prefix=[False, *[True] * rows])
        expect_constrained(case, case.decode(decoder, exact=False))
        expect_exact(case, case.decode(decoder, exact=True), 13)


def test_float16_activations_agree_within_their_precision() -> None:
    rng = np.random.default_rng(3)
    model = random_model(SIZES, rng)
    case = make(rng, model, lengths=[4, 1, 9, 2, 6])
    half = case.changed(image=case.image.astype(np.float16))
    decoding = half.decode(half.decoder(np.float16)[0], exact=False)
    whole = 0
    for question, answer in zip(case.questions, decoding.answers, strict=True):
        steps = decode_constrained(model, case.prompt(question), case.answers.expected)
        whole += compare(answer, steps, tolerance=0.02, tie=0.05)
    assert whole >= 2, "choose a seed without so many near ties"


def test_a_prefix_of_one_image_row_and_one_question_of_one_token() -> None:
    rng = np.random.default_rng(4)
    case = make(rng, random_model(SIZES, rng), lengths=[1], prefix=[True])
    decoder = case.decoder()[0]
    expect_constrained(case, case.decode(decoder, exact=False))
    expect_exact(case, case.decode(decoder, exact=True), 13)


def test_a_prefix_without_image_takes_none() -> None:
    rng = np.random.default_rng(5)
    case = make(rng, random_model(SIZES, rng), prefix=[False] * 3)
    decoder = case.decoder()[0]
    decoding = decoder.decode(
        form=case.answers.form,
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
    case = make(rng, random_model(SIZES, rng))
    np.save(tmp_path / "embeddings.npy", case.model.embeddings)
    table = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    head = case.answers.head
    graphs = NumpyGraphs(case.model, head)
    decoder = HostDecoder(graphs, make_dims(SIZES), table, head, case.answers.alphabets)
    expect_constrained(case, case.decode(decoder, exact=False))


def test_the_decoder_keeps_what_it_needs_and_no_longer() -> None:
    rng = np.random.default_rng(7)
    case = make(rng, random_model(SIZES, rng))
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
    case = make(rng, random_model(SIZES, rng))
    answers = case.decode(case.decoder()[0], exact=False).answers
    gc.collect()
    assert [len(answer.tokens) for answer in answers] == [13, 13, 13]


def test_seconds_in_the_graphs_are_part_of_all() -> None:
    rng = np.random.default_rng(9)
    case = make(rng, random_model(SIZES, rng))
    seconds = case.decode(case.decoder()[0], exact=True).seconds
    total = seconds.prefix + seconds.suffix + seconds.decode
    assert 0 < seconds.graphs <= total
    assert min(seconds.prefix, seconds.suffix, seconds.decode) > 0
