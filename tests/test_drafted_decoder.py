# SPDX-License-Identifier: Apache-2.0
"""Drafts of answers, right, wrong and without sense: the C++ decoder over NumPy graphs against decoding
without caches or drafts.

Decoding without drafts: see `test_decoder` and `test_block_decoder`.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from .decoder_cases import Case, expect_constrained, expect_exact
from .test_block_decoder import BINS
from .test_block_decoder import cases as block_cases
from .test_decoder import cases as digit_cases

few = settings(max_examples=30, deadline=None, derandomize=True)

BUDGETS = st.sampled_from([40, 13, 13, 5, 1])


def mangle(
    rng: np.random.Generator, answer: list[int], vocabulary: int, answers: list[list[int]]
) -> list[int]:
    """Something that may be handed in as the draft of an answer."""
    kind = rng.integers(6)
    if kind == 0:
        return answer[: rng.integers(len(answer) + 1)]
    if kind == 1:
        return [*answer, *map(int, rng.integers(vocabulary, size=5))]
    if kind == 2:
        return answers[rng.integers(len(answers))]
    if kind == 3:
        at = int(rng.integers(len(answer)))
        return answer[:at] + answer[at + 1 :]
    wrong = rng.random(len(answer)) < (0.1 if kind == 4 else 0.6)
    return [
        int(rng.integers(vocabulary)) if swap else token for token, swap in zip(answer, wrong, strict=True)
    ]


def check(case: Case, seed: int, exact: bool, budget: int) -> None:
    rng = np.random.default_rng(seed)
    decoder, graphs = case.decoder()
    plain = case.decode(decoder, exact=exact, max_tokens=budget)
    answers = [list(answer.tokens) for answer in plain.answers]

    right = case.decode(decoder, exact=exact, max_tokens=budget, drafts=answers)
    assert (right.passes.prefix, right.passes.suffix, right.passes.decode) == (1, 1, 0)
    assert right.drafts.accepted == right.drafts.offered <= right.drafts.free

    drafts = [mangle(rng, answer, case.model.sizes.vocabulary, answers) for answer in answers]
    offers = [] if rng.random() < 0.3 else [int(count) for count in rng.integers(-1, 20, len(drafts))]
    mangled = case.decode(decoder, exact=exact, max_tokens=budget, drafts=drafts, offers=offers)
    assert mangled.passes.decode <= plain.passes.decode + exact
    again = case.decode(decoder, exact=exact, max_tokens=budget)
    assert again.passes.decode == plain.passes.decode and again.drafts.offered == 0
    for decoding in (right, mangled, again):
        assert decoding.drafts.free == plain.drafts.free
        if exact:
            expect_exact(case, decoding, budget, measured=case.answers.numbers, drafted=True)
        else:
            expect_constrained(case, decoding, measured=case.answers.numbers, drafted=True)
    head = "answer_head" if exact else "lm_head"
    assert graphs.runs.count(head) == 0


@few
@given(digit_cases(), st.integers(0, 2**32 - 1), st.booleans(), BUDGETS)
def test_digits(case: Case, seed: int, exact: bool, budget: int) -> None:
    check(case, seed, exact, budget)


@few
@given(block_cases(), st.integers(0, 2**32 - 1), st.booleans(), BUDGETS)
def test_blocks(case: Case, seed: int, exact: bool, budget: int) -> None:
    assert case.answers.numbers == BINS
    check(case, seed, exact, budget)
