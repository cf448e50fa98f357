# SPDX-License-Identifier: Apache-2.0
"""From a decoded answer to crop coordinates: as the form says, or by the published reading of the text.

Pixels of the image do not belong here: see `edgepose.crop`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import fmean

from edgepose._core import Answer, DigitCodec

__all__ = ["Location", "read_form", "read_text"]

_NUMBER = re.compile(r"0\.\d+")
_NAN_PAIR = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Location:
    """Where an answer puts its keypoint, in units of the crop's side, (0, 0) at its top left."""

    xy: tuple[float, float]
    confidence: float
    """Mean over both numbers of the mean probability of their characters, 0 to 1."""
    std: tuple[float, float]
    """Standard deviation of the digits' distribution; NaN where the answer left the form."""
    expected: tuple[float, float]
    """Expectation of the digits' distribution; NaN where the answer left the form."""
    valid: bool
    """Whether the answer names two numbers."""


def read_form(answer: Answer, codec: DigitCodec) -> Location:
    """Read an answer that follows the codec's form.

    The confidence is the published one. Where the form forced a character, its probability counts as 1.

    Raises:
        DecodeError: the answer does not follow the form.
    """
    x, y = codec.read(answer)[:2]
    probabilities = [choice.probability for choice in answer.choices]
    # " [0.ddd,0.ddd]": the first number stands behind the bracket, the second behind the comma.
    width = (len(probabilities) - 3) // 2
    confidence = fmean((fmean(probabilities[1 : 1 + width]), fmean(probabilities[2 + width : 2 + 2 * width])))
    return Location(
        (x.value, y.value), confidence, (x.deviation, y.deviation), (x.expected, y.expected), True
    )


def read_text(text: str, answer: Answer, codec: DigitCodec, steps: int) -> Location:
    """Read an answer's text the way the published evaluation does, its peculiarities included.

    Args:
        text: decoded answer without special tokens, white space at its ends stripped.
        answer: its tokens and their probabilities over the whole vocabulary.
        codec: gives the distribution where the answer follows the form.
        steps: tokens of the longest answer in the batch; the published code drops the scores of the last of
            these steps.

    Source: LocLLM `utils/valid2d.py`, worker.
    """
    # Only numbers written "0.…" are seen: an answer of "1.000" reads as its "0." nowhere, so as no number.
    found = _NUMBER.findall(text)
    # A character's place in the text is taken for the step that produced it, which is true as long as every
    # token is one character. The last step's scores are dropped.
    scores = [choice.probability for choice in answer.choices][: steps - 1]

    def score(number: str) -> float:
        # The first place where the digits occur: when y repeats x, y gets the score of x.
        start = text.find(number)
        seen = scores[start : start + len(number)]
        # Where no step is left to score, the published mean is that of nothing.
        return fmean(seen) if seen else math.nan

    std = expected = _NAN_PAIR
    if answer.follows_form:
        form = read_form(answer, codec)
        std, expected = form.std, form.expected
    if not found:
        # The published code leaves its zeros: the crop's corner, with score 0.
        return Location((0.0, 0.0), 0.0, std, expected, False)
    if len(found) == 1:
        # A lone number is x; y and its score stay 0.
        return Location((float(found[0]), 0.0), score(found[0]) / 2, std, expected, False)
    x, y = found[:2]
    return Location((float(x), float(y)), (score(x) + score(y)) / 2, std, expected, True)
