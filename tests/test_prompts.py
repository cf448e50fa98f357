# SPDX-License-Identifier: Apache-2.0
"""Prompt splitting: what questions share stands once, and each keeps a token of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.prompts import split_shared

TOKENS = st.lists(st.integers(-1, 3), min_size=2, max_size=8).map(tuple)


@given(st.lists(TOKENS, min_size=1, max_size=5))
def test_prefix_and_suffixes_make_up_the_questions(questions: list[tuple[int, ...]]) -> None:
    prompt = split_shared(questions)
    assert [prompt.prefix + suffix for suffix in prompt.suffixes] == questions
    assert all(prompt.suffixes)
    # As long as possible: the next token differs, or would leave a suffix empty.
    heads = {suffix[0] for suffix in prompt.suffixes}
    assert len(heads) > 1 or any(len(suffix) == 1 for suffix in prompt.suffixes)


@pytest.mark.parametrize(
    ("questions", "shared"),
    [([(1, 2, 3)], 2), ([(1, 2, 3), (1, 2, 4)], 2), ([(1, 2), (1, 2, 3)], 1), ([(1, 9), (2, 9)], 0)],
)
def test_known_splits(questions: list[tuple[int, ...]], shared: int) -> None:
    assert len(split_shared(questions).prefix) == shared
