# SPDX-License-Identifier: Apache-2.0
"""Reading answers: the published reading with its peculiarities, and the reading by form."""

from __future__ import annotations

import math

import pytest

from edgepose._core import Answer, Choice, DigitCodec
from edgepose.answers import read_form, read_text
from edgepose.errors import DecodeError

DIGITS = list(range(10))
OPEN, POINT, COMMA, CLOSE, OTHER = 10, 11, 12, 13, 14
CHARACTERS = {"[": OPEN, ".": POINT, ",": COMMA, "]": CLOSE, **{str(d): d for d in DIGITS}}


def codec() -> DigitCodec:
    return DigitCodec(places=[3, 3], open=OPEN, zero=0, point=POINT, comma=COMMA, close=CLOSE, digits=DIGITS)


def answer(text: str, probabilities: list[float], *, follows_form: bool = True) -> Answer:
    """One token a character, with these probabilities over the vocabulary and certain digits."""
    return Answer(
        [
            Choice(token=CHARACTERS.get(c, OTHER), probability=p, share=1.0, mean=float(CHARACTERS.get(c, 0)))
            for c, p in zip(text, probabilities, strict=True)
        ],
        follows_form,
    )


def ramp(count: int) -> list[float]:
    """Different probabilities, so that a mean tells which steps it was taken over."""
    return [0.5 + 0.01 * i for i in range(count)]


def test_text_in_the_form_reads_both_numbers_and_their_own_scores() -> None:
    text = "[0.512,0.334]"
    got = read_text(text, answer(text, ramp(13)), codec(), 13)
    assert got.xy == (0.512, 0.334)
    assert got.valid
    x = sum(ramp(13)[1:6]) / 5
    y = sum(ramp(13)[7:12]) / 5
    assert got.confidence == pytest.approx((x + y) / 2)
    assert got.std == pytest.approx((1e-3 / math.sqrt(12),) * 2)


def test_a_repeated_number_scores_at_its_first_place() -> None:
    text = "[0.512,0.512]"
    got = read_text(text, answer(text, ramp(13)), codec(), 13)
    assert got.confidence == pytest.approx(sum(ramp(13)[1:6]) / 5)


def test_the_last_steps_score_is_dropped() -> None:
    text = "[0.5123,0.334"  # 13 characters: the last one belongs to y, its score does not
    got = read_text(text, answer(text, ramp(13), follows_form=False), codec(), 13)
    x = sum(ramp(13)[1:7]) / 6
    y = sum(ramp(13)[8:12]) / 4
    assert got.xy == (0.5123, 0.334)
    assert got.confidence == pytest.approx((x + y) / 2)
    assert all(math.isnan(v) for v in got.std)


def test_one_number_is_x_with_half_the_score() -> None:
    text = "[0.512 no no!"
    got = read_text(text, answer(text, ramp(13), follows_form=False), codec(), 13)
    assert got.xy == (0.512, 0.0)
    assert not got.valid
    assert got.confidence == pytest.approx(sum(ramp(13)[1:6]) / 5 / 2)


@pytest.mark.parametrize("text", ["", "nothing here.", "[1.000,1.000]"])
def test_no_number_is_the_corner_with_score_zero(text: str) -> None:
    got = read_text(text, answer(text, ramp(len(text)), follows_form=False), codec(), 13)
    assert (got.xy, got.confidence, got.valid) == ((0.0, 0.0), 0.0, False)


def test_a_number_behind_every_scored_step_has_no_score() -> None:
    # Tokens of several characters push the number's place in the text beyond the steps.
    tokens = answer("ab", [0.9, 0.9], follows_form=False)
    assert math.isnan(read_text("some words 0.5 0.6", tokens, codec(), 2).confidence)


def test_form_reads_what_text_reads() -> None:
    text = "[0.007,0.999]"
    by_form = read_form(answer(text, ramp(13)), codec())
    by_text = read_text(text, answer(text, ramp(13)), codec(), 13)
    assert by_form.xy == by_text.xy
    assert by_form.confidence == pytest.approx(by_text.confidence)


def test_form_refuses_what_does_not_follow_it() -> None:
    with pytest.raises(DecodeError, match="got one of 5"):
        read_form(answer("hello", ramp(5), follows_form=False), codec())
