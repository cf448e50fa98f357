# SPDX-License-Identifier: Apache-2.0
"""Reads what an ONNX file says about a graph, without its weights: inputs, nodes, types and shapes of values.

Writing graphs does not belong here: see `edgepose.export.graphs`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from edgepose.bundle import external_data_file
from edgepose.errors import BundleError

__all__ = ["GraphInput", "OnnxGraph", "Value", "dtype_name"]


@dataclass(frozen=True, slots=True)
class GraphInput:
    """One input of a graph."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    """Names stand for dimensions that are known at run time only."""


@dataclass(frozen=True, slots=True)
class Value:
    """Type and shape of a value."""

    dtype: str
    shape: tuple[int | str, ...] | None
    """None where it could not be inferred."""

    def __str__(self) -> str:
        return f"{self.dtype} {'of unknown shape' if self.shape is None else list(self.shape)}"


def dtype_name(kind: int) -> str:
    """ONNX's number of an element type -> `float16`, `int64`, ..."""
    name: str = TensorProto.DataType.Name(kind).lower()
    return "float32" if name == "float" else name


class OnnxGraph:
    """One graph of a bundle; its external weights are not read.

    Args:
        path: an `.onnx` file; the graph is called after it.

    Raises:
        BundleError: the file is no ONNX model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        try:
            self.model = onnx.load(os.fspath(path), load_external_data=False)
        except Exception as error:  # protobuf's own exceptions have no common base
            raise BundleError(
                f"[graph {path.name}] expected an ONNX model; got: {error}; copy the bundle again, or export "
                "it again"
            ) from error
        graph = self.model.graph
        if not graph.node:
            raise BundleError(
                f"[graph {path.name}] expected an ONNX model with nodes; got {path.stat().st_size} bytes "
                "without one; copy the bundle again, or export it again"
            )
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = tuple(
            GraphInput(item.name, _type_of(item)[0], _type_of(item)[1] or ())
            for item in graph.input
            if item.name not in self.initializers
        )
        self.outputs = tuple(item.name for item in graph.output)

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return max(
            (entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), default=0
        )

    @property
    def nodes(self) -> Sequence[Any]:
        """Nodes in the order in which they run."""
        nodes: Sequence[Any] = self.model.graph.node
        return nodes

    @property
    def bytes(self) -> int:
        """Of the file and of its external weights: about those of the weights."""
        data = self.path.with_name(external_data_file(self.name))
        return self.path.stat().st_size + (data.stat().st_size if data.is_file() else 0)

    @cached_property
    def values(self) -> dict[str, Value]:
        """Type and shape of every value by name, with named dimensions.

        Raises:
            ValueError: an operator cannot take what it is given; the text is ONNX's, with the node's name.
        """
        try:
            inferred = onnx.shape_inference.infer_shapes(self.model, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError as error:
            raise ValueError(" ".join(str(error).split())) from error
        graph = inferred.graph
        values = {
            item.name: Value(*_type_of(item))
            for item in (*graph.input, *graph.value_info, *graph.output)
            if item.type.HasField("tensor_type")
        }
        for name, tensor in self.initializers.items():
            values[name] = Value(dtype_name(tensor.data_type), tuple(tensor.dims))
        return values

    def describe(self, node_name: str, values: Mapping[str, Value] | None = None) -> str | None:
        """`name (Operator) of a float16 [2, 3], ...`; None where there is no such node."""
        known = self.values if values is None else values
        for node in self.nodes:
            if node.name == node_name:
                taken = ", ".join(
                    f"{name} {known[name]}" if name in known else name for name in node.input if name
                )
                return f"{node.name} ({node.op_type}) of {taken}"
        return None

    def named_in(self, text: str) -> Iterator[str]:
        """Names of nodes that occur in a text, the longest first."""
        names = sorted(
            (node.name for node in self.nodes if node.name and node.name in text), key=len, reverse=True
        )
        for index, name in enumerate(names):
            if not any(name in longer for longer in names[:index]):
                yield name


def _type_of(item: Any) -> tuple[str, tuple[int | str, ...] | None]:
    tensor = item.type.tensor_type
    dtype = dtype_name(tensor.elem_type)
    if not tensor.HasField("shape"):
        return dtype, None
    return dtype, tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim
    )
