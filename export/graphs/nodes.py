# SPDX-License-Identifier: Apache-2.0
"""Builds one ONNX graph node by node: names, inputs, outputs, constants, the `.onnx` file.

Weights and the layers that have them do not belong here: see `builder`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["IR_VERSION", "OPSET", "NodeGraph", "onnx_type"]

OPSET = 21
"""The first with block-wise DequantizeLinear, and the last that TensorRT 10.3 (JetPack 6.2) reads."""

IR_VERSION = 10
"""The first with INT4 tensors; ONNX Runtime 1.20 reads it."""


class NodeGraph:
    """Nodes, inputs, outputs and initializers of one ONNX graph, in the order in which they are added.

    Values are named by strings. Nodes get readable names: the open `scope`s, then the name given or the
    operator's.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        """Begins an empty graph.

        Args:
            path: `.onnx` file to write at the end.
            dtype: Activation type.
        """
        self.path = path
        self.dtype = dtype
        """Activation type."""
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: list[TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._scopes: list[str] = []
        self._names: dict[str, int] = {}
        self._renamed: dict[str, str] = {}

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
        self._inputs.append(helper.make_tensor_value_info(name, onnx_type(dtype), shape))
        self._names[name] = 1
        return name

    def output(self, name: str, value: str, dtype: np.dtype[Any], shape: Sequence[int | str]) -> None:
        """Declares a graph output: `value`, the result of a node, is called `name` in the file."""
        if value in self._renamed:
            value = self.op("Identity", value)
        self._renamed[value] = name
        self._outputs.append(helper.make_tensor_value_info(name, onnx_type(dtype), shape))

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
        return self.op("Cast", x, to=onnx_type(dtype))

    def dimension(self, x: str, axis: int, *, name: str) -> str:
        """One dimension of `x`, as an int64 vector of length 1.

        Not by Shape's `start` and `end`: the parsers of TensorRT 10 before they learnt these read the whole
        shape.
        """
        return self.op("Gather", self.op("Shape", x), self.ints(axis), name=name, axis=0)

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

    def _add(self, *tensors: TensorProto) -> list[str]:
        """Adds tensors under the names that they have; returns these."""
        self._initializers += tensors
        return [tensor.name for tensor in tensors]

    def _write_graph(self) -> None:
        """Writes the `.onnx` file and checks it; external data must be complete by then."""
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

    def _unique(self, name: str) -> str:
        full = ".".join((*self._scopes, name))
        count = self._names.get(full, 0)
        self._names[full] = count + 1
        return full if count == 0 else f"{full}.{count}"


def onnx_type(dtype: np.dtype[Any]) -> int:
    """ONNX's number of an array type."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))
