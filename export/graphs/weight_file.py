# SPDX-License-Identifier: Apache-2.0
"""Writes the weights of one graph to its external-data file, tensor by tensor: whole, or as INT4 or INT8.

Nodes that read them back do not belong here: see `builder`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor

from edgepose.export.graphs.nodes import onnx_type
from edgepose.export.quantize import quantize_int4
from edgepose.export.quantize_int8 import quantize_int8
from edgepose.export.stored_array import to_array

__all__ = ["WeightFile"]

_INLINE_BYTES = 1024
"""Tensors up to this size stay in the .onnx file."""

_ALIGNMENT = 4096
"""Bytes that external tensors are aligned to, so that runtimes can map the file into memory."""

_CHUNK_BYTES = 1 << 24
"""Weights are transposed and converted in pieces of about this size."""


class WeightFile:
    """An external-data file under construction; memory holds the tensor being written.

    What it returns is for the graph's initializers: small tensors themselves, of others the place in the
    file.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file."""
        self._path = path
        self._file = path.open("wb")

    def close(self) -> None:
        """Ends the file, and removes it where nothing is in it."""
        empty = self._file.tell() == 0
        self._file.close()
        if empty:
            self._path.unlink()

    def discard(self) -> None:
        """Ends the file and removes it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def whole(self, name: str, tensor: Tensor, dtype: np.dtype[Any]) -> TensorProto:
        """Writes a tensor of any float type in `dtype`.

        Raises:
            InvalidInputError: It holds values that the type cannot, or that are no numbers.
        """
        length = tensor.numel() * dtype.itemsize
        pieces = torch.chunk(tensor, max(1, length // _CHUNK_BYTES))
        chunks = (to_array(name, piece, dtype) for piece in pieces)
        return self._put(name, onnx_type(dtype), tuple(tensor.shape), length, chunks)

    def int4(
        self, name: str, weight: Tensor, block: int, dtype: np.dtype[Any]
    ) -> tuple[TensorProto, TensorProto]:
        """Writes a matrix (outputs, inputs) as (inputs, outputs) INT4, and its scales in `dtype`.

        Raises:
            InvalidInputError: It holds values that are no numbers.
        """
        columns = to_array(name, weight, np.dtype(np.float32)).T
        quantized = quantize_int4(columns, block, dtype)
        values, scales = quantized.packed, quantized.scales
        stored = self._put(name, TensorProto.INT4, quantized.shape, values.nbytes, [values])
        return stored, self._array(f"{name}.scales", scales)

    def int8(
        self, name: str, weight: Tensor, dtype: np.dtype[Any]
    ) -> tuple[TensorProto, TensorProto, TensorProto]:
        """Writes a matrix (outputs, inputs) as (inputs, outputs) INT8, its scales in `dtype` and its zeros.

        Raises:
            InvalidInputError: It holds values that are no numbers, or too large for `dtype`.
        """
        quantized = quantize_int8(name, weight, dtype)
        # Zeros are what is meant without them, but what ONNX Runtime does for CPUs without VNNI fails where
        # they are not there, or shared.
        zeros = np.zeros(len(quantized.scales), np.int8)
        return (
            self._array(name, quantized.values),
            self._array(f"{name}.scales", quantized.scales),
            self._array(f"{name}.zeros", zeros),
        )

    def _array(self, name: str, array: NDArray[Any]) -> TensorProto:
        return self._put(name, onnx_type(array.dtype), array.shape, array.nbytes, [array])

    def _put(
        self, name: str, kind: int, shape: tuple[int, ...], length: int, chunks: Iterable[NDArray[Any]]
    ) -> TensorProto:
        """Writes one tensor of `length` bytes to the file, or keeps it inline where it is small."""
        tensor = TensorProto(name=name, data_type=kind, dims=shape)
        buffers = (np.ascontiguousarray(chunk).reshape(-1).view(np.uint8).data for chunk in chunks)
        if length <= _INLINE_BYTES:
            tensor.raw_data = b"".join(buffers)
        else:
            end = self._file.tell()
            offset = -(-end // _ALIGNMENT) * _ALIGNMENT
            self._file.write(bytes(offset - end))
            for buffer in buffers:
                self._file.write(buffer)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", self._path.name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
        return tensor
