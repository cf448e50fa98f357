# SPDX-License-Identifier: Apache-2.0
"""INT4 quantization against a NumPy reading of the format, and against ONNX Runtime's own integers."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.export.quantize import block_size, dequantize_int4, quantize_int4


def read_format(packed: NDArray[np.uint8], scales: NDArray[Any], block: int) -> NDArray[np.float64]:
    """The matrix that the documented format means, element by element."""
    rows, half = packed.shape
    matrix = np.zeros((rows, 2 * half))
    for row in range(rows):
        for column in range(2 * half):
            nibble = int(packed[row, column // 2]) >> (4 * (column % 2)) & 0xF
            value = nibble - 16 if nibble > 7 else nibble
            matrix[row, column] = value * float(scales[row // block, column])
    return matrix


@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_format_and_error(block: int, dtype: type[np.floating[Any]]) -> None:
    weight = np.random.default_rng(0).standard_normal((256, 10)).astype(np.float32)
    found = quantize_int4(weight, block, np.dtype(dtype))
    assert (
        found.shape == (256, 10) and found.scales.dtype == dtype and found.scales.shape == (256 // block, 10)
    )
    matrix = dequantize_int4(found)
    np.testing.assert_allclose(matrix, read_format(found.packed, found.scales, block), rtol=1e-6, atol=1e-9)
    steps = np.repeat(found.scales.astype(np.float64), block, axis=0)
    assert (steps > 0).all()
    # Half a step by rounding; more where +8 was clipped to +7 or the fitted scale moved the boundary.
    errors = np.abs(weight - matrix) / steps
    assert errors.max() < 1.25 and np.mean(errors > 0.51) < 1.5 / block
    assert np.sqrt(np.mean((weight - matrix) ** 2)) < {32: 0.097, 64: 0.104, 128: 0.112}[block]


def test_integers_are_onnxruntimes_where_its_scale_is_positive() -> None:
    """A block whose largest magnitude is negative gets that / -8 as its scale, and plain rounding."""
    weight = np.random.default_rng(1).uniform(-1, 0.9, (64, 8)).astype(np.float32)
    weight[7] = -1.5
    found = quantize_int4(weight, 64, np.dtype(np.float32))
    np.testing.assert_allclose(found.scales, np.full((1, 8), 1.5 / 8), rtol=1e-6)
    np.testing.assert_allclose(dequantize_int4(found), np.rint(weight * 8 / 1.5) * 1.5 / 8, rtol=1e-6)


def test_mirrored_blocks_keep_the_sign() -> None:
    weight = np.linspace(-0.5, 1.0, 64, dtype=np.float32)[:, None] * np.ones((1, 4), dtype=np.float32)
    matrix = dequantize_int4(quantize_int4(weight, 64, np.dtype(np.float32)))
    assert np.abs(matrix - weight).max() < 0.12 and matrix.max() > 0.85


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_blocks_of_zeros_and_of_tiny_numbers(dtype: type[np.floating[Any]]) -> None:
    weight = np.zeros((64, 4), dtype=np.float32)
    weight[:, 1] = 1e-30
    found = quantize_int4(weight, 64, np.dtype(dtype))
    assert (found.scales > 0).all()
    assert np.abs(dequantize_int4(found)).max() < 1e-3


def test_wide_matrices_are_quantized_in_pieces() -> None:
    weight = np.random.default_rng(2).standard_normal((64, 2500)).astype(np.float32)
    whole = quantize_int4(weight, 64, np.dtype(np.float32))
    part = quantize_int4(weight[:, 1000:1500], 64, np.dtype(np.float32))
    np.testing.assert_array_equal(whole.packed[:, 500:750], part.packed)
    np.testing.assert_array_equal(whole.scales[:, 1000:1500], part.scales)


@pytest.mark.parametrize(
    ("inputs", "outputs", "block"),
    [(4096, 11008, 64), (11008, 4096, 64), (96, 64, 32), (100, 64, None), (64, 63, None)],
)
def test_block_size(inputs: int, outputs: int, block: int | None) -> None:
    assert block_size(inputs, outputs) == block


def test_logging_stays_as_it_was() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    quantize_int4(np.ones((64, 2), dtype=np.float32), 64, np.dtype(np.float32))
    assert (list(root.handlers), root.level) == before
