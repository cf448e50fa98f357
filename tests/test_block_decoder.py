# SPDX-License-Identifier: Apache-2.0
"""Answers in blocks of bin tokens, by models with positions in the image and features in several layers.

The C++ decoder over NumPy graphs against decoding without caches. Answers of digits: see `test_decoder`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose._core import BlockCodec

from .answer_forms import BlockForm
from .decoder_cases import Answers, Case, expect_constrained, expect_exact, make_case
from .numpy_decoder import Sizes, random_model

END, ASK, COMMA, BLANK = 2, 3, 4, 5
MARKERS = {
    "box_start": 6,
    "box_end": 7,
    "kpt2d_start": 8,
    "kpt2d_end": 9,
    "kpt3d_start": 10,
    "kpt3d_end": 11,
}
JOINTS = [12, 13, 14, 15]
BINS = list(range(20, 32))
FIRST_WORD = 40

SEPARATORS: tuple[Mapping[str, Sequence[int]], ...] = (
    {},
    {"between_numbers": [COMMA], "between_box_numbers": [COMMA]},
    {"after_start": [BLANK], "after_name": [BLANK], "between_joints": [BLANK], "before_end": [BLANK]},
    {"between_joints": [COMMA, BLANK], "between_blocks": [BLANK], "after_blocks": [BLANK]},
    {"between_joints": [COMMA, BLANK], "before_end": [COMMA]},
    {"between_joints": [COMMA], "before_end": [BLANK, COMMA]},
    {"before_end": [BLANK]},
    {"after_box_start": [BLANK], "between_box_numbers": [COMMA, BLANK], "before_box_end": [COMMA]},
    {name: [BLANK, COMMA] for name in ("after_start", "after_name", "between_numbers", "between_blocks")},
)
"""Among them all ways in which the end of a block may differ from the next joint."""

BLOCKS = (("box", "kpt2d", "kpt3d"), ("kpt2d", "kpt3d", "box"), ("kpt3d", "kpt2d"), ("kpt2d", "box", "kpt3d"))

# What makes an answer follow the form, at least for a while: tokens that are likely after another. So that
# the last token tells what is due, there are bins of their own for the box, for two and for three numbers.
CHAINS = (
    (ASK, MARKERS["box_start"], *BINS[:4], MARKERS["box_end"], MARKERS["kpt2d_start"], JOINTS[0]),
    *((joint, *numbers) for joint in JOINTS for numbers in (BINS[4:6], BINS[6:9])),
    *((end, joint) for end in (BINS[5], BINS[8]) for joint in JOINTS),
    (BINS[5], MARKERS["kpt2d_end"], MARKERS["kpt3d_start"], JOINTS[0]),
    (BINS[8], MARKERS["kpt3d_end"], END),
)
FOLLOW = tuple(sorted({pair for chain in CHAINS for pair in zip(chain, chain[1:], strict=False)}))

few = settings(max_examples=40, deadline=None, derandomize=True)


def blocks(
    asked: Sequence[int] | None = None,
    separators: Mapping[str, Sequence[int]] = SEPARATORS[0],
    order: Sequence[str] = BLOCKS[0],
) -> Answers:
    codec = BlockCodec(
        bins=BINS, joints=JOINTS, markers=MARKERS, end=END, blocks=order, separators=separators
    )
    expected = BlockForm(
        tuple(BINS),
        tuple(JOINTS),
        MARKERS,
        END,
        tuple(order),
        separators,
        None if asked is None else tuple(asked),
    )
    form = codec.free() if asked is None else codec.asked(asked)
    return Answers(codec.alphabets, form, expected, BINS, END)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kv_heads = draw(st.integers(1, 2))
    sections = draw(st.sampled_from([(), (2, 1, 1), (1, 2, 1), (4, 2, 2), (0, 3, 1), (2, 3, 3)]))
    layers = draw(st.integers(1, 3))
    sizes = Sizes(
        hidden=draw(st.integers(4, 10)) * 4,
        layers=layers,
        heads=kv_heads * draw(st.integers(1, 2)),
        kv_heads=kv_heads,
        head_dim=2 * sum(sections) if sections else 8,
        vocabulary=draw(st.integers(60, 90)),
        rope_theta=draw(st.sampled_from([100.0, 1e4, 5e6])),
        rope_sections=sections,
        deepstack=draw(st.integers(0, layers)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    before, behind = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    case = make_case(
        rng,
        random_model(sizes, rng, FOLLOW if draw(st.booleans()) else ()),
        blocks(
            draw(st.sampled_from([None, None, [2], [3, 0], [0, 1, 2, 3]])),
            draw(st.sampled_from(SEPARATORS)),
            draw(st.sampled_from(BLOCKS)),
        ),
        ask=ASK,
        first_word=FIRST_WORD,
        lengths=draw(st.sampled_from([[1], [1], [6], [3, 1, 8]])),
        prefix=[*[False] * before, *[True] * (rows * columns), *[False] * behind],
        grid=(rows, columns) if sections else None,
    )
    return case.changed(
        penalty=draw(st.sampled_from([1.0, 1.05, 1.5, 0.7])),
        penalise_numbers=draw(st.booleans()),
        image_token=draw(st.sampled_from([-1, 0, BINS[0]])),
    )


@few
@given(cases())
def test_constrained_answers_equal_decoding_without_caches(case: Case) -> None:
    decoder, graphs = case.decoder()
    decoding = case.decode(decoder, exact=False)
    expect_constrained(case, decoding, measured=BINS)
    assert all(len(answer.tokens) <= case.answers.form.longest for answer in decoding.answers)
    assert graphs.runs.count("lm_head") == 0


@few
@given(cases(), st.sampled_from([40, 40, 1, 7, 20]))
def test_exact_answers_equal_greedy_search_without_caches(case: Case, max_tokens: int) -> None:
    decoder, graphs = case.decoder()
    decoding = case.decode(decoder, exact=True, max_tokens=max_tokens)
    expect_exact(case, decoding, max_tokens, measured=BINS)
    assert graphs.runs.count("answer_head") == 0


SIZES = Sizes(
    hidden=24,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=8,
    vocabulary=60,
    rope_theta=5e6,
    rope_sections=(2, 1, 1),
    deepstack=2,
)


def make(
    rng: np.random.Generator, answers: Answers, follow: bool = True, lengths: Sequence[int] = (1,)
) -> Case:
    return make_case(
        rng,
        random_model(SIZES, rng, FOLLOW if follow else ()),
        answers,
        ask=ASK,
        first_word=FIRST_WORD,
        lengths=lengths,
        prefix=[False, *[True] * 6, False],
        grid=(2, 3),
    ).changed(penalty=1.05, image_token=1)


@pytest.mark.parametrize("separators", SEPARATORS)
@pytest.mark.parametrize("count", [1, 3, 4])
def test_an_asked_answer_takes_a_pass_a_number(separators: Mapping[str, Sequence[int]], count: int) -> None:
    answers = blocks([3, 1, 0, 2][:count], separators)
    assert answers.form.looks == 4 + 5 * count
    case = make(np.random.default_rng(count), answers)
    passes = case.decode(case.decoder()[0], exact=False).passes
    assert (passes.prefix, passes.suffix, passes.decode) == (1, 1, 4 + 5 * count - 1)


def test_free_answers_name_any_joints() -> None:
    """The comparison would mean little if all answers named the same ones, or none."""
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(30):
        case = make(rng, blocks())
        answer = case.decode(case.decoder()[0], exact=False).answers[0]
        named = [token for token in answer.tokens if token in JOINTS]
        half = len(named) // 2
        assert named[:half] == named[half:]
        assert len(set(named)) == half
        seen.add(tuple(named[:half]))
    assert len({len(named) for named in seen}) > 1
    assert len(seen) > 5


def test_models_that_follow_the_form_are_among_the_cases() -> None:
    """The comparison would mean little if every draft were refused at its first token."""
    rng = np.random.default_rng(2)
    kept = []
    for _ in range(20):
        case = make(rng, blocks()).changed(penalty=1.0)
        tokens = case.decode(case.decoder()[0], exact=True, max_tokens=30).answers[0].tokens
        kept.append(next((n for n in range(len(tokens)) if not fits(case, tokens, n)), len(tokens)))
    assert max(kept) >= 15, "an echoed joint is confirmed as a draft"
    assert sum(count > 0 for count in kept) >= 10


def fits(case: Case, tokens: Sequence[int], place: int) -> bool:
    here = case.answers.expected(tokens[:place])
    return here is not None and tokens[place] in here.allowed


def test_one_decoder_takes_any_form_of_its_codec() -> None:
    rng = np.random.default_rng(3)
    case = make(rng, blocks(), lengths=[1, 7])
    decoder = case.decoder()[0]
    for asked in (None, [1], [2, 0], None, [0, 1, 2, 3], [1]):
        again = case.changed(answers=blocks(asked))
        expect_constrained(again, again.decode(decoder, exact=False), measured=BINS)
        expect_exact(again, again.decode(decoder, exact=True), 13, measured=BINS)


def test_a_long_answer_stays_the_same_where_the_cache_grows() -> None:
    """A suffix starts with 128 slots; the answer goes on over 256."""
    rng = np.random.default_rng(4)
    case = make(rng, blocks(), follow=False, lengths=[3, 40]).changed(penalty=1.2)
    case = case.changed(answers=dataclasses.replace(case.answers, end=-1))
    decoder, graphs = case.decoder()
    decoding = case.decode(decoder, exact=True, max_tokens=280)
    assert [len(answer.tokens) for answer in decoding.answers] == [280, 280]
    assert graphs.suffixes == [0, 128, 256, 320]
    expect_exact(case, decoding, 280, measured=BINS)
    again = case.decode(decoder, exact=True, max_tokens=280)
    assert [answer.tokens for answer in again.answers] == [answer.tokens for answer in decoding.answers]
    short = case.decode(decoder, exact=False)
    expect_constrained(case, short, measured=BINS)
