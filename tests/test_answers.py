# SPDX-License-Identifier: Apache-2.0
"""Reading answers: the published reading with its peculiarities, and the reading by form."""

from __future__ import annotations

import math

import pytest

from edgepose._core import Answer, Choice, DigitCodec
from edgepose.answers import depth_mm, read_form, read_text
from edgepose.errors import DecodeError

DIGITS = list(range(10))
OPEN, POINT, COMMA, CLOSE, OTHER = 10, 11, 12, 13, 14
CHARACTERS = {"[": OPEN, ".": POINT, ",": COMMA, "]": CLOSE, **{str(d): d for d in DIGITS}}


def codec(*places: int) -> DigitCodec:
    return DigitCodec(
        places=places or [3, 3], open=OPEN, zero=0, point=POINT, comma=COMMA, close=CLOSE, digits=DIGITS
    )


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


DEEP = "[0.512,0.334,0.512345]"


def test_published_tokens_and_depth() -> None:
    llama = [29900, 29896, 29906, 29941, 29946, 29945, 29953, 29955, 29947, 29929]
    deep = DigitCodec(
        places=[3, 3, 6], open=518, zero=29900, point=29889, comma=29892, close=29962, digits=llama
    )
    tokens = deep.encode([0.512, 0.334, 0.512345])
    assert [*tokens, 2] == [
        518, 29900, 29889, 29945, 29896, 29906, 29892, 29900, 29889, 29941, 29941, 29946,
        29892, 29900, 29889, 29945, 29896, 29906, 29941, 29946, 29945, 29962, 2,
    ]  # fmt: skip
    assert (deep.length, deep.places) == (22, [3, 3, 6])
    number = deep.read(Answer([Choice(token) for token in tokens], True))[2]
    assert number.value == pytest.approx(0.512345)
    assert depth_mm(number.value, 2000.0) == pytest.approx(24.69)
    assert [depth_mm(number, 2000.0) for number in (0.0, 0.5, 1.0)] == [-1000.0, 0.0, 1000.0]


def test_a_depth_is_read_by_form_and_by_text() -> None:
    spoken = answer(DEEP, ramp(22))
    for got in (read_form(spoken, codec(3, 3, 6)), read_text(DEEP, spoken, codec(3, 3, 6), 22)):
        assert got.xy == pytest.approx((0.512, 0.334))
        assert got.depth == pytest.approx(0.512345)
        assert got.depth_std == pytest.approx(1e-6 / math.sqrt(12), rel=1e-3)
        assert got.std == pytest.approx((1e-3 / math.sqrt(12),) * 2)
        assert got.valid
        x, y = sum(ramp(22)[1:6]) / 5, sum(ramp(22)[7:12]) / 5
        assert got.confidence == pytest.approx((x + y) / 2)


@pytest.mark.parametrize("places", [(2, 5), (5, 2, 1), (1, 1, 9)])
def test_form_scores_numbers_of_any_length_where_they_stand(places: tuple[int, ...]) -> None:
    text = "[" + ",".join("0." + "7" * count for count in places) + "]"
    got = read_form(answer(text, ramp(len(text))), codec(*places))
    first, second = (2 + count for count in places[:2])
    x = sum(ramp(99)[1 : 1 + first]) / first
    y = sum(ramp(99)[2 + first : 2 + first + second]) / second
    assert got.confidence == pytest.approx((x + y) / 2)


def test_two_numbers_have_no_depth() -> None:
    text = "[0.512,0.334]"
    for got in (
        read_form(answer(text, ramp(13)), codec()),
        read_text(text, answer(text, ramp(13)), codec(), 13),
    ):
        assert math.isnan(got.depth) and math.isnan(got.depth_std)


@pytest.mark.parametrize(
    ("text", "xy", "depth", "valid"),
    [
        ("", (0.0, 0.0), 0.5, False),  # the published code leaves zeros: the root's depth
        ("no digits here.", (0.0, 0.0), 0.5, False),
        ("[0.512 no", (0.512, 0.0), math.nan, False),
        ("[0.512,0.334]", (0.512, 0.334), math.nan, False),
        ("[1.000,7.25,.5]", (0.0, 0.25), 0.5, True),  # what stands before the point is read as 0
        ("[0.1,0.2,0.3,0.4]", (0.1, 0.2), 0.3, True),
        ("0.1.2.34", (0.1, 0.2), 0.34, True),
    ],
)
def test_three_numbers_are_read_from_their_points_on(
    text: str, xy: tuple[float, float], depth: float, valid: bool
) -> None:
    got = read_text(text, answer(text, ramp(len(text)), follows_form=False), codec(3, 3, 6), 22)
    assert (got.xy, got.valid) == (xy, valid)
    assert got.depth == pytest.approx(depth, nan_ok=True)
    assert math.isnan(got.depth_std) and all(math.isnan(value) for value in (*got.std, *got.expected))


def test_scores_of_three_numbers_are_taken_where_they_stand() -> None:
    text = "[0.512,0.512,0.512000]"
    got = read_text(text, answer(text, ramp(22)), codec(3, 3, 6), 22)
    x, y = sum(ramp(22)[1:6]) / 5, sum(ramp(22)[7:12]) / 5
    assert got.confidence == pytest.approx((x + y) / 2)
    alone = read_text("[0.512", answer("[0.512", ramp(6), follows_form=False), codec(3, 3, 6), 22)
    assert alone.confidence == pytest.approx(x / 2)
    nothing = read_text("", answer("", [], follows_form=False), codec(3, 3, 6), 22)
    assert nothing.confidence == 0.0
    behind = read_text("some words .5 .6 .7", answer("ab", ramp(2), follows_form=False), codec(3, 3, 6), 2)
    assert math.isnan(behind.confidence) and behind.valid
    start = read_text(".5", answer(".5", ramp(2), follows_form=False), codec(3, 3, 6), 22)
    assert start.confidence == pytest.approx(sum(ramp(2)) / 2 / 2)
