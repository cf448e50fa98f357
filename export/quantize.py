# SPDX-License-Identifier: Apache-2.0
"""Block-wise INT4 quantization of one weight matrix by ONNX Runtime's quantizer.

Which weights are quantized is decided by the graphs, not here: the decoder's linear layers, and no others.
They are nine tenths of a 7 B model, they are what decoding reads at every step, and a decoder bears the
error. Vision encoder, connector and heads run once per image or on a few rows, their share of the memory is
small, and their errors go straight into the image features and the coordinate probabilities; they, and the
embedding table, stay in the activation type.
"""

from __future__ import annotations

import functools
import importlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = [
    "BLOCKS",
    "Int4Weight",
    "block_size",
    "dequantize_int4",
    "quantize_int4",
]

BLOCKS = (64, 128, 32)
"""Rows that share one scale, by preference.

64 loses a tenth less than 128 (root mean square, normal weights) for 0.25 bit more; both are what TensorRT
documents. 32 serves compact models whose width 64 does not divide.
"""

_CHUNK_COLUMNS = 1024
"""Columns quantized at a time: bounds the memory of the quantizer's copies."""


@dataclass(frozen=True, slots=True, repr=False)
class Int4Weight:
    """A quantized matrix: element (i, j) is `q(i, j) * scales[i // block, j]` with q from -8 to 7."""

    packed: NDArray[np.uint8]
    """`(inputs, outputs / 2)` uint8: two values a byte, row-major, the even column in the low four bits."""
    scales: NDArray[Any]
    """`(inputs / block, outputs)` float32 or float16, all positive."""
    block: int
    """Rows that share a scale."""

    @property
    def shape(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return self.packed.shape[0], self.packed.shape[1] * 2

    def __repr__(self) -> str:
        return f"Int4Weight(shape={self.shape}, block={self.block}, scales={self.scales.dtype})"


def block_size(inputs: int, outputs: int) -> int | None:
    """Block for a matrix of `inputs` rows; None where no block divides it (or `outputs` is odd) and it stays
    whole.
    """
    if outputs % 2:
        return None
    return next((block for block in BLOCKS if inputs % block == 0), None)


def quantize_int4(weight: NDArray[np.float32], block: int, scale_dtype: np.dtype[Any]) -> Int4Weight:
    """Quantizes a matrix symmetrically, in blocks along its rows.

    The integers and scales are those of ONNX Runtime's `MatMulNBitsQuantizer`. It gives a block whose largest
    magnitude is positive a negative scale, to make use of -8. TensorRT before RTX refuses scales that are not
    positive, so such blocks are mirrored: signs swapped, the one +8 clipped to +7, and the scale fitted to
    the integers by least squares. The root mean square error of normal weights grows by 4 %.

    Args:
        weight: `(inputs, outputs)` float32, applied as `x @ weight`; `outputs` even.
        block: Rows that share a scale; divides `inputs`.
        scale_dtype: float32 or float16.

    Returns:
        The quantized matrix.
    """
    inputs, outputs = weight.shape
    packed = np.empty((inputs, outputs // 2), dtype=np.uint8)
    scales = np.empty((inputs // block, outputs), dtype=scale_dtype)
    for start in range(0, outputs, _CHUNK_COLUMNS):
        stop = min(start + _CHUNK_COLUMNS, outputs)
        columns = np.ascontiguousarray(weight[:, start:stop])
        values, wide_scales = _quantize_with_onnxruntime(columns, block)
        _make_scales_positive(values, wide_scales, columns, block)
        scales[:, start:stop] = _to_positive(wide_scales, scale_dtype)
        packed[:, start // 2 : stop // 2] = _pack(values)
    return Int4Weight(packed, scales, block)


def dequantize_int4(weight: Int4Weight) -> NDArray[np.float32]:
    """The `(inputs, outputs)` float32 matrix that a quantized one stands for, computed in float32."""
    matrix = _unpack(weight.packed).astype(np.float32)
    blocks = matrix.reshape(-1, weight.block, matrix.shape[1])
    blocks *= weight.scales.astype(np.float32)[:, None, :]
    return matrix


def _quantize_with_onnxruntime(
    columns: NDArray[np.float32], block: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers `(inputs, outputs)` and signed scales `(inputs / block, outputs)` of a one-MatMul model."""
    quantization, nbits = _onnxruntime_quantization()
    inputs, outputs = columns.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], name="matmul")],
        "one_matmul",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(columns, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    quantizer = nbits.MatMulNBitsQuantizer(
        model, bits=4, block_size=block, is_symmetric=True, quant_format=quantization.QuantFormat.QDQ
    )
    quantizer.process()
    result = quantizer.model.model.graph
    found = {tensor.name: tensor for tensor in result.initializer}
    (node,) = (node for node in result.node if node.op_type == "DequantizeLinear")
    values, scales = found[node.input[0]], found[node.input[1]]
    packed = np.frombuffer(values.raw_data, dtype=np.uint8).reshape(inputs, outputs // 2)
    return _unpack(packed), numpy_helper.to_array(scales).astype(np.float32, copy=True)


@functools.cache
def _onnxruntime_quantization() -> tuple[Any, Any]:
    """The quantizer's package and module, loaded without their configuration of the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    quantization = importlib.import_module("onnxruntime.quantization")
    nbits = importlib.import_module("onnxruntime.quantization.matmul_nbits_quantizer")
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger(nbits.__name__).setLevel(logging.WARNING)
    return quantization, nbits


def _make_scales_positive(
    values: NDArray[np.int8], scales: NDArray[np.float32], columns: NDArray[np.float32], block: int
) -> None:
    """Mirrors the blocks with a negative scale, in place."""
    grouped = values.reshape(-1, block, values.shape[1])
    negative = np.signbit(scales) & (scales != 0)
    np.copyto(grouped, np.minimum(-grouped, 7), where=negative[:, None, :])
    wide = grouped.astype(np.float32)
    target = columns.reshape(grouped.shape)
    fitted = np.einsum("kbn,kbn->kn", wide, target) / np.maximum(np.einsum("kbn,kbn->kn", wide, wide), 1.0)
    np.copyto(scales, fitted, where=negative)


def _to_positive(scales: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Scales in their stored type; those of blocks of zeros, or too small for the type, become its smallest
    number.
    """
    positive: NDArray[Any] = np.maximum(scales.astype(dtype), np.finfo(dtype).tiny)
    return positive


def _pack(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Values -8 to 7 to two a byte along the last axis."""
    nibbles = values.view(np.uint8) & np.uint8(0x0F)
    packed: NDArray[np.uint8] = nibbles[:, 0::2] | (nibbles[:, 1::2] << np.uint8(4))
    return packed


def _unpack(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Two values a byte to int8 along the last axis."""
    values = np.empty((packed.shape[0], packed.shape[1] * 2), dtype=np.uint8)
    values[:, 0::2] = packed & 0x0F
    values[:, 1::2] = packed >> 4
    # Sign extension of four bits.
    signed: NDArray[np.int8] = (values ^ np.uint8(8)).view(np.int8) - np.int8(8)
    return signed
