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

__all__ = ["Location", "depth_mm", "depth_number", "read_form", "read_text"]

_NUMBER = re.compile(r"0\.\d+")
_FRACTION = re.compile(r"\.\d+")
_NAN_PAIR = (math.nan, math.nan)
_ROOT = 0.5  # the third number of a point as far away as the root joint


@dataclass(frozen=True, slots=True)
class Location:
    """Where an answer puts its keypoint, in units of the crop's side, (0, 0) at its top left."""

    xy: tuple[float, float]
    confidence: float
    """Mean over x and y of the mean probability of their characters, 0 to 1; the depth does not count."""
    std: tuple[float, float]
    """Standard deviation of the digits' distribution; NaN where the answer left the form."""
    expected: tuple[float, float]
    """Expectation of the digits' distribution; NaN where the answer left the form."""
    valid: bool
    """Whether the answer names all its numbers: two, or three where the codec has a depth."""
    depth: float = math.nan
    """Third number as written, 0 to 1, 0.5 at the root joint: see `depth_mm`; NaN where there is none."""
    depth_std: float = math.nan
    """Standard deviation of the third number's digits; NaN without one, or where the answer left the form."""


def depth_mm(number: float, range_mm: float) -> float:
    """Depth that the third number of an answer stands for.

    Args:
        number: 0 to 1.
        range_mm: millimetres from 0 to 1, `CodecSpec.depth_range_mm`.

    Returns:
        Millimetres relative to the root joint, positive away from the camera.

    Source: LocLLM `datasets/h36m.py`, `utils/valid3d.py`: 0.5 plus the difference of depths over two metres.
    """
    return (number - _ROOT) * range_mm


def depth_number(depth: float, range_mm: float) -> float:
    """Third number of an answer that stands for a depth: the inverse of `depth_mm`."""
    return depth / range_mm + _ROOT


def read_form(answer: Answer, codec: DigitCodec) -> Location:
    """Read an answer that follows the codec's form.

    The confidence is the published one. Where the form forced a character, its probability counts as 1.

    Raises:
        DecodeError: the answer does not follow the form.
    """
    x, y, *depth = codec.read(answer)
    probabilities = [choice.probability for choice in answer.choices]
    # " [0.ddd,0.ddd": the first number stands behind the bracket, the second behind the comma.
    scores, start = [], 1
    for places in codec.places[:2]:
        end = start + len("0.") + places
        scores.append(fmean(probabilities[start:end]))
        start = end + len(",")
    return Location(
        (x.value, y.value),
        fmean(scores),
        (x.deviation, y.deviation),
        (x.expected, y.expected),
        True,
        depth[0].value if depth else math.nan,
        depth[0].deviation if depth else math.nan,
    )


def read_text(text: str, answer: Answer, codec: DigitCodec, steps: int) -> Location:
    """Read an answer's text the way the published evaluation does, its peculiarities included.

    With two numbers, all of this is published. With three, the numbers are; the published code has no
    confidence there, so the formula is the published one of two numbers, applied to x and y where they stand.
    Where it ends in an error, at one or two numbers out of three, what was found is kept: a missing y is 0, a
    missing depth NaN. It sets the depth of the root joint to 0 after reading; that is left to the caller.

    Args:
        text: decoded answer without special tokens, white space at its ends stripped.
        answer: its tokens and their probabilities over the whole vocabulary.
        codec: how many numbers there are, and their distribution where the answer follows the form.
        steps: tokens of the longest answer in the batch; the published code drops the scores of the last of
            these steps.

    Source: LocLLM `utils/valid2d.py` and `utils/valid3d.py`, worker.
    """
    # A character's place in the text is taken for the step that produced it, which is true as long as every
    # token is one character. The last step's scores are dropped.
    scores = [choice.probability for choice in answer.choices][: steps - 1]
    count = len(codec.places)
    found = (_fractions if count == 3 else _numbers)(text, scores)[:count]
    values = [value for value, _ in found]
    # The published code leaves zeros where it finds nothing: the crop's corner, at the depth of the root and
    # with score 0. A lone number is x.
    x, y = (*values, 0.0, 0.0)[:2]
    confidence = sum(score for _, score in found[:2]) / 2
    std, depth_std, expected = _NAN_PAIR, math.nan, _NAN_PAIR
    if answer.follows_form:
        form = read_form(answer, codec)
        std, depth_std, expected = form.std, form.depth_std, form.expected
    depth = math.nan
    if count == 3:
        depth = values[2] if len(values) == 3 else math.nan if values else _ROOT
    return Location((x, y), confidence, std, expected, len(values) == count, depth, depth_std)


def _numbers(text: str, scores: list[float]) -> list[tuple[float, float]]:
    """Numbers and their scores in an answer of two."""
    # Only numbers written "0.…" are seen: an answer of "1.000" reads as its "0." nowhere, so as no number.
    # A score is taken at the first place where the digits occur: when y repeats x, y gets the score of x.
    return [
        (float(number), _score(scores, text.find(number), len(number))) for number in _NUMBER.findall(text)
    ]


def _fractions(text: str, scores: list[float]) -> list[tuple[float, float]]:
    """Numbers and their scores in an answer of three."""
    # Whatever stands before the point is read as 0: an answer of "1.000" is the number 0.000.
    return [
        (float("0" + match[0]), _score(scores, match.start() - 1, 1 + len(match[0])))
        for match in _FRACTION.finditer(text)
    ]


def _score(scores: list[float], start: int, length: int) -> float:
    seen = scores[max(0, start) : start + length]
    # Where no step is left to score, the published mean is that of nothing.
    return fmean(seen) if seen else math.nan
