# SPDX-License-Identifier: Apache-2.0
"""Backends whose graphs PyTorch runs: the decoder on a device, and all of the TensorRT backend on a GPU.

How PyTorch runs a graph does not belong here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from edgepose._core import Device, Graphs, HostDevice
from edgepose.backends.gpu_memory import GpuMemory
from edgepose.backends.tensorrt import TensorRtBackend, open_gpu
from edgepose.tensorrt_library import Library, RuntimeName

from ..device_backends import HostDeviceBackend
from .fake_tensorrt import Context, library
from .torch_graphs import TorchGraph, TorchGraphs, in_stream, tensor_at

__all__ = ["TorchDecoderBackend", "TorchEngineBackend"]


class TorchDecoderBackend(HostDeviceBackend):
    """The decoder's graphs run by PyTorch: here on the host device."""

    place = "cpu"

    def open_place(self) -> tuple[Device, int]:
        """The device and its stream."""
        return HostDevice(), 0

    def open_device(self) -> tuple[Device, Graphs]:
        device, stream = self.open_place()
        return device, TorchGraphs(self._bundle.graph, self.place, stream, self._passed)


class TorchEngineBackend(TensorRtBackend):
    """The backend itself on a GPU, over a library with TensorRT's interface that runs ONNX by PyTorch."""

    def _load_library(self, name: RuntimeName) -> Library:
        return library(name=name, context=_TorchContext)

    def _open_device(self) -> tuple[Device, GpuMemory, Any]:
        return open_gpu()


class _TorchContext(Context):
    stream = None  # any
    _bound: dict[str, torch.Tensor] | None = None

    def execute_async_v3(self, stream: int) -> bool:
        with in_stream(stream, "cuda"):
            if self._bound is None:  # not while it is captured
                self._bound = self._tensors()
            self._bound[""].fill_(0x5A)
            try:
                results = _graph_of(self._graph).run({name: self._bound[name] for name in self._shapes})
            except RuntimeError:  # TensorRT does not raise either
                return False
            for name, result in results.items():
                self._bound[name].copy_(result)
        return True

    def _tensors(self) -> dict[str, torch.Tensor]:
        assert self._memory
        shapes = {name: self._shapes.get(name) or self.get_tensor_shape(name) for name in self._dtypes}
        found = {
            name: tensor_at((self._addresses[name], shape, self._dtypes[name]), "cuda")
            for name, shape in shapes.items()
        }
        return found | {"": tensor_at((self._memory, (self._scratch,), "uint8"), "cuda")}


@cache
def _graph_of(path: str) -> TorchGraph:
    return TorchGraph(path, "cuda")
