# SPDX-License-Identifier: Apache-2.0
"""Writes one ONNX graph node by node, and its weights to an external-data file tensor by tensor.

What the graphs compute does not belong here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.errors import InvalidInputError
from edgepose.export.quantize import block_size, quantize_int4
from edgepose.export.quantize_int8 import quantize_int8

__all__ = ["IR_VERSION", "OPSET", "GraphBuilder", "to_array"]

OPSET = 21
"""The first with block-wise DequantizeLinear, and the last that TensorRT 10.3 (JetPack 6.2) reads."""

IR_VERSION = 10
"""The first with INT4 tensors; ONNX Runtime 1.20 reads it."""

_INLINE_BYTES = 1024
"""Tensors up to this size stay in the .onnx file."""

_ALIGNMENT = 4096
"""Bytes that external tensors are aligned to, so that runtimes can map the file into memory."""

_CHUNK_BYTES = 1 << 24
"""Weights are transposed and converted in pieces of about this size."""


class GraphBuilder:
    """One ONNX graph under construction.

    Values are named by strings. Nodes get readable names: the open `scope`s, then the name given or the
    operator's. Initializers have the canonical names of the weights. They go straight to `PATH.data`; memory
    holds the one being written. Used as a context manager, it writes `PATH` at the end, and removes both
    files when the body raises.

    Example:
        with GraphBuilder(folder / "connector.onnx", PRECISIONS["fp32"], weights) as graph:
            features = graph.input("features", graph.dtype, ("B", 256, 1024))
            embeddings = graph.linear(features, "connector.0", bias=True)
            graph.output("image_embeddings", embeddings, graph.dtype, ("B", 256, 4096))
    """

    def __init__(self, path: Path, precision: PrecisionSpec, weights: Mapping[str, Tensor]) -> None:
        """Opens the data file.

        Args:
            path: `.onnx` file to write; weights go to `PATH.data`.
            precision: Types of weights and activations.
            weights: Canonical name to tensor, read when asked for.
        """
        self.path = path
        self.weights = weights
        self.precision = precision
        self.dtype: np.dtype[Any] = np.dtype(precision.activations)
        """Activation type."""
        self._stored = np.dtype(np.float16) if precision.half_storage else self.dtype
        self.full_precision: list[str] = []
        """Weights that were to be quantized and are not: because no INT4 block divides their width, say."""
        self._data_path = path.with_name(path.name + ".data")
        self._data = self._data_path.open("wb")
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: list[TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._rounded: dict[tuple[str, float], list[str]] = {}
        self._scopes: list[str] = []
        self._names: dict[str, int] = {}
        self._renamed: dict[str, str] = {}

    def __enter__(self) -> GraphBuilder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        else:
            self._data.close()
            self._data_path.unlink(missing_ok=True)

    # Structure --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefixes the names of all nodes made inside."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def input(self, name: str, dtype: np.dtype[Any], shape: Sequence[int | str]) -> str:
        """Declares a graph input; a string in `shape` names a dimension that is known at run time only."""
        self._inputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), shape))
        self._names[name] = 1
        return name

    def output(self, name: str, value: str, dtype: np.dtype[Any], shape: Sequence[int | str]) -> None:
        """Declares a graph output: `value`, the result of a node, is called `name` in the file."""
        if value in self._renamed:
            value = self.op("Identity", value)
        self._renamed[value] = name
        self._outputs.append(helper.make_tensor_value_info(name, _onnx_type(dtype), shape))

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Adds a node with one output.

        Args:
            kind: ONNX operator.
            inputs: Values; "" leaves an optional one out.
            name: Last part of the node's name; default: the operator.
            attributes: ONNX attributes.

        Returns:
            The output value.
        """
        return self.ops(kind, *inputs, outputs=1, name=name, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, name: str = "", **attributes: Any) -> list[str]:
        """Adds a node with several outputs; see `op`."""
        full = self._unique(name or kind)
        values = [full] if outputs == 1 else [f"{full}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, values, name=full, **attributes))
        return values

    def cast(self, x: str, dtype: np.dtype[Any]) -> str:
        """From the activation type to `dtype`, or back; nothing where they are one."""
        if self.dtype == np.float32:
            return x
        return self.op("Cast", x, to=_onnx_type(dtype))

    def dimension(self, x: str, axis: int, *, name: str) -> str:
        """One dimension of `x`, as an int64 vector of length 1.

        Not by Shape's `start` and `end`: the parsers of TensorRT 10 before they learnt these read the whole
        shape.
        """
        return self.op("Gather", self.op("Shape", x), self.ints(axis), name=name, axis=0)

    # Constants and weights --------------------------------------------------------------------------------

    def constant(self, value: NDArray[Any]) -> str:
        """A small tensor, stored in the .onnx file once however often it is asked for."""
        array = np.ascontiguousarray(value)
        key = (array.dtype.str, np.shape(value), array.tobytes())
        if key not in self._constants:
            name = f"constant.{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
            self._constants[key] = name
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """An int64 vector: shape, axes or sizes."""
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: float, dtype: np.dtype[Any] | None = None) -> str:
        """A scalar in the activation type, or in `dtype`."""
        return self.constant(np.array(value, dtype=dtype or self.dtype))

    def weight(self, name: str) -> str:
        """Stores a weight under its canonical name; the value has the activation type.

        Raises:
            InvalidInputError: It holds values that the type cannot, or that are no numbers.
        """
        return self._store(name, self.weights[name])

    def linear(
        self, x: str, layer: str, *, bias: bool = False, int4: bool = False, int8: float | None = None
    ) -> str:
        """Adds `x @ weight.T + bias`.

        Args:
            x: (..., inputs), activation type.
            layer: Canonical name of the layer, that is of its weights less `.weight` and `.bias`.
                `weight` is (outputs, inputs) as PyTorch keeps it, and stored as (inputs, outputs).
            bias: Whether it has a bias.
            int4: Store the weight as block-wise INT4 with a DequantizeLinear, where a block divides `inputs`.
            int8: Step at which `x` is rounded to INT8; the weight is stored as INT8, one step for each
                output.

        Returns:
            (..., outputs), activation type.

        Raises:
            InvalidInputError: As for `weight`.
        """
        name = f"{layer}.weight"
        weight = self.weights[name]
        with self.scope(layer.rpartition(".")[2]):
            block = block_size(weight.shape[1], weight.shape[0]) if int4 else None
            if int4 and block is None:
                self.full_precision.append(name)
            if int8 is not None:
                x, matrix = self._round(x, int8), self._store_int8(name, weight)
            elif block is not None:
                matrix = self._store_int4(name, weight, block)
            else:
                matrix = self._store(name, weight.T)
            del weight
            product = self.op("MatMul", x, matrix)
            return self.op("Add", product, self.weight(f"{layer}.bias")) if bias else product

    def layer_norm(self, x: str, layer: str, epsilon: float) -> str:
        """Adds a layer norm over the last axis; statistics in float32 whatever the type.

        Args:
            x: (..., channels), activation type.
            layer: Canonical name of the layer, whose weights are `.weight` and `.bias`.
            epsilon: Added to the variance.

        Raises:
            InvalidInputError: As for `weight`.
        """
        scale, bias = self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon, stash_type=1)

    def _store_int4(self, name: str, weight: Tensor, block: int) -> str:
        columns = to_array(name, weight, np.dtype(np.float32)).T
        quantized = quantize_int4(columns, block, self.dtype)
        values, scales = quantized.packed, quantized.scales
        stored = self._write(name, TensorProto.INT4, quantized.shape, values.nbytes, [values])
        steps = self._write(f"{name}.scales", _onnx_type(scales.dtype), scales.shape, scales.nbytes, [scales])
        return self.op("DequantizeLinear", stored, steps, axis=0, block_size=block)

    def _store_int8(self, name: str, weight: Tensor) -> str:
        quantized = quantize_int8(name, weight, self.dtype)
        values, scales = quantized.values, quantized.scales
        stored = self._write(name, TensorProto.INT8, values.shape, values.nbytes, [values])
        steps = self._write(f"{name}.scales", _onnx_type(scales.dtype), scales.shape, scales.nbytes, [scales])
        # Zeros are what is meant without them, but what ONNX Runtime does for CPUs without VNNI fails where
        # they are not there, or shared.
        zeros = np.zeros(len(scales), np.int8)
        zero = self._write(f"{name}.zeros", TensorProto.INT8, zeros.shape, zeros.nbytes, [zeros])
        return self.op("DequantizeLinear", stored, steps, zero, axis=1)

    def _round(self, x: str, step: float) -> str:
        """`x` at whole multiples of `step`, -128 to 127 of them.

        ONNX Runtime on x86 computes in INT8 only what has a QuantizeLinear of its own, and merges equal ones
        before it looks. So where CPUs are meant, each further layer on the same input gets a step that
        differs in the last bit. Builders for GPUs would rather have one for all, and can merge the layers.
        """
        earlier = self._rounded.setdefault((x, step), [])
        scale = np.array(max(step, float(np.finfo(self.dtype).tiny)), dtype=self.dtype)
        zero = self.constant(np.zeros((), np.int8))
        if self.dtype == np.float32 or not earlier:
            for _ in earlier:
                scale = np.nextafter(scale, self.dtype.type(np.inf), dtype=self.dtype)
            earlier.append(self.op("QuantizeLinear", x, self.constant(scale), zero))
        return self.op("DequantizeLinear", earlier[-1], self.constant(scale), zero, name="rounded")

    def _store(self, name: str, tensor: Tensor) -> str:
        length = tensor.numel() * self._stored.itemsize
        pieces = torch.chunk(tensor, max(1, length // _CHUNK_BYTES))
        chunks = (to_array(name, piece, self._stored) for piece in pieces)
        stored = self._write(name, _onnx_type(self._stored), tuple(tensor.shape), length, chunks)
        if self._stored == self.dtype:
            return stored
        # Runtimes fold this into the weight when they load the graph.
        return self.op("Cast", stored, to=_onnx_type(self.dtype))

    def _write(
        self, name: str, kind: int, shape: tuple[int, ...], length: int, chunks: Iterable[NDArray[Any]]
    ) -> str:
        """Writes one tensor of `length` bytes to the data file, or keeps it inline where it is small."""
        tensor = TensorProto(name=name, data_type=kind, dims=shape)
        buffers = (np.ascontiguousarray(chunk).reshape(-1).view(np.uint8).data for chunk in chunks)
        if length <= _INLINE_BYTES:
            tensor.raw_data = b"".join(buffers)
        else:
            end = self._data.tell()
            offset = -(-end // _ALIGNMENT) * _ALIGNMENT
            self._data.write(bytes(offset - end))
            for buffer in buffers:
                self._data.write(buffer)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", self._data_path.name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
        self._initializers.append(tensor)
        return name

    # Names and ending -------------------------------------------------------------------------------------

    def _unique(self, name: str) -> str:
        full = ".".join((*self._scopes, name))
        count = self._names.get(full, 0)
        self._names[full] = count + 1
        return full if count == 0 else f"{full}.{count}"

    def _finish(self) -> None:
        empty = self._data.tell() == 0
        self._data.close()
        if empty:
            self._data_path.unlink()
        for node in self._nodes:
            for values in (node.input, node.output):
                values[:] = [self._renamed.get(value, value) for value in values]
        graph = helper.make_graph(
            self._nodes, self.path.stem, self._inputs, self._outputs, self._initializers
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="edgepose",
        )
        self.path.write_bytes(model.SerializeToString())
        onnx.checker.check_model(os.fspath(self.path))


def _onnx_type(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def to_array(name: str, tensor: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A tensor of any float type as an array.

    Args:
        name: For the message.
        tensor: Any shape.
        dtype: float32 or float16.

    Raises:
        InvalidInputError: A value is no number, or too large for the type.
    """
    wide = tensor.detach().to(torch.float32)
    with np.errstate(over="ignore"):
        array = wide.numpy().astype(dtype, copy=False)
    if not np.isfinite(array).all():
        largest = float(wide.abs().max())
        raise InvalidInputError(
            f"[export] expected the values of {name} to be finite in {dtype}; the largest magnitude is "
            f"{largest:g}; choose a precision that stores float32, or mend the checkpoint"
        )
    return array
