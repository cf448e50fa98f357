# SPDX-License-Identifier: Apache-2.0
"""INT8 weights against their definition, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgepose.errors import InvalidInputError
from edgepose.export.quantize_int8 import dequantize_int8, quantize_int8


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_number(dtype: type[np.floating[Any]]) -> None:
    weight = np.random.default_rng(0).standard_normal((1100, 24)).astype(np.float32)
    found = quantize_int8("w", torch.from_numpy(weight), np.dtype(dtype))
    assert found.values.shape == (24, 1100) and found.values.dtype == np.int8
    assert found.scales.shape == (1100,) and found.scales.dtype == dtype
    matrix = dequantize_int8(found)
    for output in (0, 511, 512, 1099):
        scale = float(dtype(np.abs(weight[output]).max() / np.float32(127)))
        for place in range(24):
            whole = min(127, max(-127, round(float(weight[output, place]) / scale)))
            assert found.values[place, output] == whole
            assert matrix[place, output] == pytest.approx(whole * scale, rel=1e-6)
    steps = found.scales.astype(np.float64)
    # Rounding moves by half a step; a scale that float16 rounds down clips the largest by a little more.
    assert (np.abs(matrix - weight.T) <= steps * (0.5 if dtype == np.float32 else 0.57) * (1 + 1e-5)).all()
    assert (np.abs(found.values).max(axis=0) == 127).mean() > (0.999 if dtype == np.float32 else 0.9)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_zeros_and_tiny_numbers(dtype: type[np.floating[Any]]) -> None:
    weight = torch.zeros(3, 8)
    weight[1] = 1e-30
    weight[2] = 1e-3
    found = quantize_int8("w", weight, np.dtype(dtype))
    assert (found.scales > 0).all() and np.isfinite(found.scales).all()
    assert (found.values[:, 0] == 0).all()
    np.testing.assert_allclose(dequantize_int8(found)[:, 2], 1e-3, atol=4e-5)


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [(float("nan"), np.float32, "nan"), (float("inf"), np.float32, "inf"), (1e8, np.float16, "1e+08")],
)
def test_values_that_do_not_fit(value: float, dtype: type[np.floating[Any]], shown: str) -> None:
    weight = torch.ones(4, 8)
    weight[2, 3] = value
    with pytest.raises(InvalidInputError, match=r"layer\.weight.*finite") as caught:
        quantize_int8("layer.weight", weight, np.dtype(dtype))
    assert shown in str(caught.value)
