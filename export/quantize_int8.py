# SPDX-License-Identifier: Apache-2.0
"""INT8 quantization of one weight matrix, symmetric, with one scale for each output.

What its inputs are rounded to is decided in `edgepose.export.smoothing`, which matrices are quantized by the
graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepose.errors import InvalidInputError

__all__ = ["LARGEST", "Int8Weight", "dequantize_int8", "quantize_int8"]

LARGEST = 127
"""Largest magnitude of a rounded value: -128 is left unused, so that the range is symmetric."""

_CHUNK_ROWS = 512
"""Outputs quantized at a time: bounds the memory of copies in float32."""


@dataclass(frozen=True, slots=True, repr=False)
class Int8Weight:
    """A quantized matrix: element (i, j) is `values[i, j] * scales[j]`."""

    values: NDArray[np.int8]
    """`(inputs, outputs)` int8, -127 to 127."""
    scales: NDArray[Any]
    """`(outputs,)` float32 or float16, all positive."""

    def __repr__(self) -> str:
        return f"Int8Weight(shape={self.values.shape}, scales={self.scales.dtype})"


def quantize_int8(name: str, weight: Tensor, scale_dtype: np.dtype[Any]) -> Int8Weight:
    """Quantizes a matrix so that the largest magnitude of each output becomes 127.

    Args:
        name: For the message.
        weight: `(outputs, inputs)`, any float type, as PyTorch keeps it.
        scale_dtype: float32 or float16.

    Returns:
        The quantized matrix, transposed to how graphs apply it. Scales too small for their type, those of
        zeros among them, are its smallest number.

    Raises:
        InvalidInputError: A value is no number, or too large for the type of the scales.
    """
    outputs, inputs = weight.shape
    values = np.empty((inputs, outputs), dtype=np.int8)
    scales = np.empty(outputs, dtype=scale_dtype)
    for start in range(0, outputs, _CHUNK_ROWS):
        rows = weight[start : start + _CHUNK_ROWS].detach().to(torch.float32).numpy()
        largest = np.abs(rows).max(axis=1)
        with np.errstate(over="ignore"):
            found = np.maximum((largest / LARGEST).astype(scale_dtype), np.finfo(scale_dtype).tiny)
        if not np.isfinite(found).all():
            raise InvalidInputError(
                f"[export] expected the values of {name} to be finite, and 1/127 of them in {scale_dtype}; "
                f"the largest magnitude is {float(largest.max()):g}; choose another precision, or mend the "
                "checkpoint"
            )
        scales[start : start + len(rows)] = found
        steps = np.rint(rows / found.astype(np.float32)[:, None])
        values[:, start : start + len(rows)] = np.clip(steps, -LARGEST, LARGEST).T
    return Int8Weight(values, scales)


def dequantize_int8(weight: Int8Weight) -> NDArray[np.float32]:
    """The `(inputs, outputs)` float32 matrix that a quantized one stands for, computed in float32."""
    matrix: NDArray[np.float32] = weight.values.astype(np.float32) * weight.scales.astype(np.float32)
    return matrix
