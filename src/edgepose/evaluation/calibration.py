# SPDX-License-Identifier: Apache-2.0
"""Whether reported standard deviations are as large as the errors they speak of.

Arrays in, numbers out. Drawing the curve does not belong here: see `edgepose.evaluation.charts`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError
from edgepose.keypoint import finite_or_none

__all__ = ["Calibration", "Group", "calibrate", "coverage"]

Floats = NDArray[np.float64]

_SIGMAS = tuple(0.1 * step for step in range(1, 31))  # where the reliability curve is measured
_GROUPS = 10
_NORMAL_MEDIAN = 0.6744897501960817  # median of |z| of a normal distribution


@dataclass(frozen=True, slots=True)
class Group:
    """Answers whose reported standard deviations are alike: a tenth of all, in order of them."""

    std: float
    """Root mean square of the reported standard deviations."""
    error: float
    """Root mean square of the errors, to compare with."""
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How errors compare with the standard deviations that came with the answers, axis by axis."""

    unit: str
    """Of errors and standard deviations."""
    count: int
    """Numbers compared: coordinates, not joints."""
    without: int
    """Answered coordinates that came without a standard deviation, which are left out."""
    within_1: float
    """Share of errors within one standard deviation; 0.683 if they were normally distributed."""
    within_2: float
    """Share within two; 0.954 if normally distributed."""
    factor: float
    """Median of error over standard deviation against a normal distribution's: above 1 where the model is too
    sure of itself, and what to multiply its standard deviations by. Outliers do not move it."""
    gap: float
    """Mean distance of the reliability curve from the diagonal, 0 to 1."""
    curve: tuple[tuple[float, float], ...] = ()
    """(share expected of a normal distribution, share found) within 0.1 to 3 standard deviations."""
    groups: tuple[Group, ...] = field(default=())
    """Answers in tenths, the surest first."""

    def to_json(self) -> dict[str, Any]:
        """Value for `json.dumps`. Numbers that are not finite become None."""
        return {
            "unit": self.unit,
            "count": self.count,
            "without_std": self.without,
            "within_1_std": finite_or_none(self.within_1),
            "within_2_std": finite_or_none(self.within_2),
            "factor": finite_or_none(self.factor),
            "gap": finite_or_none(self.gap),
            "curve": [[expected, found] for expected, found in self.curve],
            "groups": [{"std": g.std, "error": g.error, "count": g.count} for g in self.groups],
        }


def coverage(errors: ArrayLike, std: ArrayLike, sigmas: float) -> float:
    """Share of errors of at most `sigmas` standard deviations; NaN without any.

    Args:
        errors: any shape, float, signed or not.
        std: same shape and unit, at least 0. Pairs with a NaN do not count.
    """
    ratio = _ratios(errors, std)
    return float((ratio <= sigmas).mean()) if len(ratio) else math.nan


def calibrate(errors: ArrayLike, std: ArrayLike, unit: str) -> Calibration:
    """Compare errors with reported standard deviations.

    Args:
        errors: any shape, float: answered minus true coordinate; NaN where there is none.
        std: same shape and unit; NaN where none was reported.
        unit: of both, for people.

    Raises:
        InvalidInputError: the shapes differ, or a standard deviation is below 0.
    """
    ratio = _ratios(errors, std)
    error, deviation = np.ravel(np.asarray(errors, np.float64)), np.ravel(np.asarray(std, np.float64))
    answered, reported = np.isfinite(error), np.isfinite(deviation)
    curve = tuple((math.erf(k / math.sqrt(2)), float((ratio <= k).mean())) for k in _SIGMAS if len(ratio))
    median = float(np.median(ratio)) if len(ratio) else math.nan
    return Calibration(
        unit=unit,
        count=len(ratio),
        without=int((answered & ~reported).sum()),
        within_1=coverage(errors, std, 1),
        within_2=coverage(errors, std, 2),
        factor=median / _NORMAL_MEDIAN,
        gap=float(np.mean([abs(a - b) for a, b in curve])) if curve else math.nan,
        curve=curve,
        groups=_tenths(error[answered & reported], deviation[answered & reported]),
    )


def _ratios(errors: ArrayLike, std: ArrayLike) -> Floats:
    """Errors in standard deviations, flat, without NaN; infinite where a model was certain and wrong."""
    error, deviation = np.abs(np.asarray(errors, np.float64)), np.asarray(std, np.float64)
    if error.shape != deviation.shape or (deviation < 0).any():
        raise InvalidInputError(
            f"[calibration] expected a standard deviation of at least 0 for each error; got shapes "
            f"{error.shape} and {deviation.shape}, smallest {np.min(deviation, initial=np.inf)}; check their "
            "order"
        )
    both = np.isfinite(error) & np.isfinite(deviation)
    error, deviation = error[both], deviation[both]
    certain = np.where(error > 0, np.inf, 0.0)
    return np.divide(error, deviation, out=certain, where=deviation > 0)


def _tenths(errors: Floats, std: Floats) -> tuple[Group, ...]:
    order = np.argsort(std, kind="stable")
    parts = np.array_split(order, min(_GROUPS, len(order))) if len(order) else []
    return tuple(
        Group(float(np.sqrt(np.mean(std[part] ** 2))), float(np.sqrt(np.mean(errors[part] ** 2))), len(part))
        for part in parts
    )
