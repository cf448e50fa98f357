# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs run by PyTorch, operator by operator, on addresses: a GPU can capture them as it does engines.

Written to be read, not to be fast. Knows the operators of this package's bundles and nothing else.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as functional
from onnx import numpy_helper

from edgepose._core import Graphs, TensorView
from edgepose.errors import BackendError

__all__ = ["TorchGraph", "TorchGraphs", "in_stream", "tensor_at"]

Place = tuple[int, Sequence[int], str]
"""Address, shape, dtype."""

_FEW = 64  # whole numbers: shapes and axes, which stay on the host
_DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 10: torch.float16}


def tensor_at(place: Place, device: str) -> torch.Tensor:
    """A tensor over memory of somebody else."""
    address, shape, dtype = place
    kind = np.dtype(dtype)
    count = math.prod(shape)
    if count == 0:
        return torch.empty(tuple(shape), dtype=getattr(torch, dtype), device=device)
    if device == "cpu":
        memory = (ctypes.c_uint8 * (count * kind.itemsize)).from_address(address)
        return torch.from_numpy(np.frombuffer(memory, kind).reshape(shape))
    described = {"shape": tuple(shape), "typestr": kind.str, "data": (address, False), "version": 3}
    tensor = torch.as_tensor(SimpleNamespace(__cuda_array_interface__=described), device=device)
    assert tensor.data_ptr() == address, "a copy"
    return tensor


def in_stream(stream: int, device: str) -> Any:
    """Lets PyTorch put what it does into a stream of somebody else, where there are streams."""
    if device == "cpu":
        return torch.no_grad()
    return torch.cuda.stream(torch.cuda.ExternalStream(stream))


class TorchGraph:
    """One graph.

    Args:
        path: ONNX, its weights beside it.
        device: `cpu` or `cuda`.
    """

    def __init__(self, path: Path | str, device: str) -> None:
        model = onnx.load(str(path))
        self._nodes, self._device = list(model.graph.node), device
        self.outputs = [value.name for value in model.graph.output]
        self._constants = {}
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype.name in ("int4", "uint4"):
                array = array.astype(np.int8)
            few = array.dtype.kind == "i" and array.itemsize == 8 and array.size <= _FEW
            whole = torch.from_numpy(np.array(array))
            self._constants[tensor.name] = whole if few else whole.to(device)
        if device != "cpu":
            torch.cuda.synchronize()  # weights are there before another stream reads them

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs by name."""
        values: dict[str, torch.Tensor] = {**self._constants, **inputs}
        with torch.no_grad():
            for node in self._nodes:
                attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                given = [values[name] if name else None for name in node.input]
                results = _OPERATORS[node.op_type](attributes, len(node.output), *given)
                values.update(zip(node.output, results, strict=False))
        return {name: values[name] for name in self.outputs}


class TorchGraphs(Graphs):
    """Decoder and heads on a device's memory.

    Args:
        find: path of a graph.
        device: `cpu` or `cuda`.
        stream: in which they run.
        on_run: called with a graph's name when a pass is on its way.
    """

    def __init__(
        self, find: Callable[[str], Path], device: str, stream: int, on_run: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._find, self._device, self._stream, self._on_run = find, device, stream, on_run
        self._graphs: dict[str, TorchGraph] = {}
        self._bound: list[tuple[str, dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []

    def bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int:
        if graph not in self._graphs:
            self._graphs[graph] = TorchGraph(self._find(graph), self._device)
        named = [
            {view.name: tensor_at((view.address, view.shape, view.dtype), self._device) for view in views}
            for views in (inputs, outputs)
        ]
        self._bound.append((graph, named[0], named[1]))
        return len(self._bound) - 1

    def run(self, handle: int) -> None:
        graph, inputs, outputs = self._bound[handle]
        try:
            with in_stream(self._stream, self._device):
                results = self._graphs[graph].run(inputs)
                for name, target in outputs.items():
                    target.copy_(results[name])
        except RuntimeError as error:
            raise BackendError(f"[torch] expected {graph} to run; got: {error}") from error

    def passed(self, handle: int) -> None:
        self._on_run(self._bound[handle][0])

    def release(self) -> None:
        self._bound.clear()


# Operators: attributes, how many results, inputs -> results ----------------------------------------------


def _numbers(tensor: torch.Tensor) -> list[int]:
    return [int(number) for number in tensor.reshape(-1).tolist()]


def _plain(function: Callable[..., torch.Tensor]) -> Callable[..., list[torch.Tensor]]:
    return lambda attributes, count, *inputs: [function(*inputs)]


def _concat(attributes: dict[str, Any], count: int, *inputs: torch.Tensor) -> list[torch.Tensor]:
    return [torch.cat(inputs, attributes["axis"])]


def _split(
    attributes: dict[str, Any], count: int, data: torch.Tensor, sizes: torch.Tensor | None = None
) -> list[torch.Tensor]:
    axis = attributes.get("axis", 0)
    each = -(-data.shape[axis] // count)
    return list(torch.split(data, each if sizes is None else _numbers(sizes), axis))


def _reshape(
    attributes: dict[str, Any], count: int, data: torch.Tensor, shape: torch.Tensor
) -> list[torch.Tensor]:
    wanted = [data.shape[k] if size == 0 else size for k, size in enumerate(_numbers(shape))]
    return [data.reshape(wanted)]


def _gather(
    attributes: dict[str, Any], count: int, data: torch.Tensor, indices: torch.Tensor
) -> list[torch.Tensor]:
    axis = attributes.get("axis", 0)
    if indices.device == data.device:
        taken = data.index_select(axis, indices.reshape(-1))
    else:  # which a capture could not copy
        taken = torch.stack([data.select(axis, number) for number in _numbers(indices)], axis)
    return [taken.reshape(*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])]


def _gather_nd(
    attributes: dict[str, Any], count: int, data: torch.Tensor, indices: torch.Tensor
) -> list[torch.Tensor]:
    assert attributes["batch_dims"] == 1 and indices.shape[-1] == 1
    rows = torch.arange(data.shape[0], device=data.device).reshape(-1, *(1,) * (indices.dim() - 2))
    return [data[rows, indices[..., 0]]]


def _slice(
    attributes: dict[str, Any],
    count: int,
    data: torch.Tensor,
    starts: torch.Tensor,
    ends: torch.Tensor,
    axes: torch.Tensor,
    steps: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    assert steps is None or _numbers(steps) == [1] * len(steps)
    for start, end, axis in zip(_numbers(starts), _numbers(ends), _numbers(axes), strict=True):
        whole = [slice(None)] * data.dim()
        whole[axis] = slice(start, end)
        data = data[tuple(whole)]
    return [data]


def _reduce(function: Callable[..., torch.Tensor]) -> Callable[..., list[torch.Tensor]]:
    return lambda attributes, count, data, axes: [
        function(data, dim=tuple(_numbers(axes)), keepdim=bool(attributes.get("keepdims", 1)))
    ]


def _unsqueeze(
    attributes: dict[str, Any], count: int, data: torch.Tensor, axes: torch.Tensor
) -> list[torch.Tensor]:
    rank = data.dim() + axes.numel()
    for axis in sorted(axis % rank for axis in _numbers(axes)):
        data = data.unsqueeze(axis)
    return [data]


def _spread(values: torch.Tensor, data: torch.Tensor, attributes: dict[str, Any]) -> torch.Tensor:
    """Scales or zero points, so that they broadcast over what they belong to."""
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    if values.dim() == 0 or values.numel() == 1:
        return values.reshape(())
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, data.shape[axis])
    return values.reshape([-1 if k == axis % data.dim() else 1 for k in range(data.dim())])


def _dequantize(
    attributes: dict[str, Any],
    count: int,
    data: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    numbers = data.to(scale.dtype)
    if zero is not None:
        numbers = numbers - _spread(zero, data, attributes).to(scale.dtype)
    return [numbers * _spread(scale, data, attributes)]


def _quantize(
    attributes: dict[str, Any], count: int, data: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor
) -> list[torch.Tensor]:
    limits = torch.iinfo(zero.dtype)
    whole = torch.round(data / _spread(scale, data, attributes)) + _spread(zero, data, attributes)
    return [whole.clamp(limits.min, limits.max).to(zero.dtype)]


def _layer_norm(
    attributes: dict[str, Any], count: int, data: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> list[torch.Tensor]:
    return [functional.layer_norm(data, data.shape[-1:], scale, bias, attributes["epsilon"])]


def _conv(
    attributes: dict[str, Any],
    count: int,
    data: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """Of patches beside each other, as a product: a GPU's convolutions may round float32 to TF32."""
    rows, columns = attributes["kernel_shape"]
    assert attributes["strides"] == [rows, columns]
    batch, channels, height, width = data.shape
    cut = data.reshape(batch, channels, height // rows, rows, width // columns, columns)
    patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(3)
    result = patches @ weight.flatten(1).T
    return [(result if bias is None else result + bias).permute(0, 3, 1, 2)]


_OPERATORS: dict[str, Callable[..., list[torch.Tensor]]] = {
    "Add": _plain(torch.add),
    "Cast": lambda attributes, count, data: [data.to(_DTYPES[attributes["to"]])],
    "Concat": _concat,
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Div": lambda attributes, count, a, b: [
        a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")
    ],
    "Erf": _plain(torch.erf),
    "Expand": lambda attributes, count, data, shape: [
        data * torch.ones(_numbers(shape), dtype=data.dtype, device=data.device)
    ],
    "Gather": _gather,
    "GatherND": _gather_nd,
    "LayerNormalization": _layer_norm,
    "MatMul": _plain(torch.matmul),
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Pow": _plain(torch.pow),
    "QuantizeLinear": _quantize,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Reshape": _reshape,
    "Shape": lambda attributes, count, data: [torch.tensor(data.shape, dtype=torch.int64)],
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda attributes, count, data: [torch.softmax(data, attributes.get("axis", -1))],
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Tanh": _plain(torch.tanh),
    "Transpose": lambda attributes, count, data: [data.permute(attributes["perm"])],
    "Unsqueeze": _unsqueeze,
}
