# SPDX-License-Identifier: Apache-2.0
"""Reads an exported graph back: single weights, and parts of it as models of their own.

Writing graphs does not belong here.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from edgepose.export.quantize import Int4Weight, dequantize_int4
from edgepose.export.quantize_int8 import Int8Weight, dequantize_int8

__all__ = ["ExportedGraph", "open_session"]


class ExportedGraph:
    """An `.onnx` file whose external weights stay on disk until they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._model = onnx.load(path, load_external_data=False)
        graph = self._model.graph
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._inputs = {value.name: value for value in graph.input}
        self._outputs = {value.name: value for value in graph.output}
        self._producers = {output: node for node in graph.node for output in node.output}
        self._blocks = {
            node.input[0]: attribute.i
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "DequantizeLinear" and attribute.name == "block_size"
        }

    def linear_weight(self, name: str) -> Tensor:
        """The weight of a linear layer as the graph applies it.

        Args:
            name: Canonical name.

        Returns:
            (outputs, inputs) float32, dequantized where it is stored as INT4 or INT8.
        """
        if name in self._blocks:
            rows, columns = self._initializers[name].dims
            packed = np.frombuffer(self._read(name), dtype=np.uint8).reshape(rows, columns // 2)
            matrix = dequantize_int4(Int4Weight(packed, self._array(f"{name}.scales"), self._blocks[name]))
        elif self._initializers[name].data_type == TensorProto.INT8:
            quantized = Int8Weight(self._array(name).view(np.int8), self._array(f"{name}.scales"))
            matrix = dequantize_int8(quantized)
        else:
            matrix = self._array(name).astype(np.float32)
        return torch.from_numpy(matrix.T)

    def input_step(self, name: str) -> float | None:
        """Step at which the input of a linear layer is rounded to INT8; None where it is not.

        Args:
            name: Canonical name of the layer's weight.
        """
        products = [node for node in self._model.graph.node if node.op_type == "MatMul"]
        for node in products:
            weight, rounded = self._producers.get(node.input[1]), self._producers.get(node.input[0])
            if weight is not None and weight.input[0] == name:
                if rounded is None or rounded.op_type != "DequantizeLinear":
                    return None
                return float(self._array(rounded.input[1]))
        return None

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
        """The nodes between some values, as a model that refers to the same external data.

        Args:
            inputs: Values, of the activation type, to stop at on the way back from `outputs`.
            outputs: Values to compute.

        Returns:
            A model whose inputs are those of `inputs` and of the whole graph that the nodes need.
        """
        needed: set[str] = set()
        reached: set[str] = set()
        pending = list(outputs)
        while pending:
            value = pending.pop()
            if value in reached or not value:
                continue
            reached.add(value)
            if value not in inputs and value in self._producers:
                node = self._producers[value]
                needed.update(node.output)
                pending.extend(node.input)
        graph = self._model.graph
        act = next(iter(self._inputs.values())).type.tensor_type.elem_type
        boundary = [
            helper.make_tensor_value_info(name, act, None) for name in inputs if name not in self._inputs
        ]
        results = [
            self._outputs.get(name) or helper.make_tensor_value_info(name, act, None) for name in outputs
        ]
        part = helper.make_graph(
            [node for node in graph.node if node.output[0] in needed],
            graph.name,
            [value for name, value in self._inputs.items() if name in reached] + boundary,
            results,
            [tensor for name, tensor in self._initializers.items() if name in reached],
        )
        return helper.make_model(
            part, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )

    def _array(self, name: str) -> NDArray[np.generic]:
        tensor = self._initializers[name]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.frombuffer(self._read(name), dtype=dtype).reshape(tuple(tensor.dims))

    def _read(self, name: str) -> bytes:
        tensor = self._initializers[name]
        if tensor.data_location != TensorProto.EXTERNAL:
            return bytes(tensor.raw_data)
        where = {entry.key: entry.value for entry in tensor.external_data}
        with (self.path.parent / where["location"]).open("rb") as file:
            file.seek(int(where["offset"]))
            return bytes(file.read(int(where["length"])))


def open_session(
    model: Path | onnx.ModelProto, folder: Path | None = None, *, prepack: bool = True
) -> onnxruntime.InferenceSession:
    """Opens a graph on the CPU for comparison with PyTorch.

    Args:
        model: A file, or a model that refers to external data in `folder`.
        folder: Where the external data of a model in memory is.
        prepack: Whether to copy weights into the layout of the kernels; without it they stay mapped from the
            file, which matters where one matrix is a large part of the memory.

    Returns:
        A session that computes INT4 products in float32 (accuracy level 1), and INT8 products without
        saturation, so that differences are the graph's.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if platform.machine().lower() in ("x86_64", "amd64"):
        # Sums of INT8 products in more than 16 bits, on every CPU.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
    providers = ["CPUExecutionProvider"]
    if isinstance(model, Path):
        return onnxruntime.InferenceSession(str(model), options, providers=providers)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
