# SPDX-License-Identifier: Apache-2.0
"""Calibration against normal noise of known size, and cases counted by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgepose.errors import InvalidInputError
from edgepose.evaluation import calibrate, coverage

NAN = float("nan")


def test_coverage_by_hand() -> None:
    errors, std = [0.5, -1.5, 3.0, 9.0, NAN, 1.0], [1.0, 1.0, 1.0, NAN, 1.0, 1.0]
    assert coverage(errors, std, 1) == 0.5  # of 0.5, -1.5, 3 and 1, which is just within
    assert coverage(errors, std, 2) == 0.75
    assert math.isnan(coverage([NAN], [1.0], 1))


def test_right_deviations_lie_on_the_diagonal() -> None:
    generator = np.random.default_rng(0)
    std = generator.uniform(0.5, 5, 40_000)
    found = calibrate(generator.normal(size=40_000) * std, std, "px")
    assert found.within_1 == pytest.approx(0.6827, abs=0.01)
    assert found.within_2 == pytest.approx(0.9545, abs=0.01)
    assert found.factor == pytest.approx(1, abs=0.02)
    assert found.gap < 0.01
    assert [group.count for group in found.groups] == [4000] * 10
    for group in found.groups:
        assert group.error == pytest.approx(group.std, rel=0.05)
    assert [group.std for group in found.groups] == sorted(group.std for group in found.groups)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_factor_mends_deviations(factor: float) -> None:
    generator = np.random.default_rng(1)
    std = generator.uniform(0.5, 5, 20_000)
    errors = generator.normal(size=20_000) * std * factor
    found = calibrate(errors, std, "px")
    assert found.factor == pytest.approx(factor, rel=0.03)
    assert calibrate(errors, std * found.factor, "px").within_1 == pytest.approx(0.6827, abs=0.01)


def test_certain_answers_and_missing_deviations() -> None:
    found = calibrate([0.0, 2.0, 1.0, NAN], [0.0, 0.0, NAN, 1.0], "m")
    assert (found.count, found.without) == (2, 1)
    assert found.within_2 == 0.5  # certain and right, certain and wrong
    json.dumps(found.to_json(), allow_nan=False)
    nothing = calibrate([NAN], [NAN], "m")
    assert nothing.count == 0 and nothing.curve == () and nothing.groups == ()
    assert nothing.to_json()["within_1_std"] is None


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(InvalidInputError, match="at least 0"):
        calibrate([1.0], [-1.0], "px")
    with pytest.raises(InvalidInputError, match="shapes"):
        calibrate([1.0, 2.0], [1.0], "px")
