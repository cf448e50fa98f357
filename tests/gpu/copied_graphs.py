# SPDX-License-Identifier: Apache-2.0
"""The decoder's loop and kernels on the GPU, while ONNX Runtime runs the graphs on copies in host memory.

Slow, but it needs no TensorRT: it proves caches, plans, kernels and choices on any GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Device, Graphs, TensorView
from edgepose.backends.gpu_memory import CudaMemory, GpuMemory
from edgepose.backends.tensorrt import open_device

from ..device_backends import HostDeviceBackend


class CopiedGraphs(Graphs):
    """Graphs that copy their tensors off the device and back.

    Args:
        run: runs a graph: its name, inputs by name; returns outputs by name.
        memory: of the device.
    """

    def __init__(self, run: Any, memory: GpuMemory) -> None:
        super().__init__()
        self._run, self._memory = run, memory
        self._bound: list[tuple[str, list[TensorView], list[TensorView]]] = []

    def bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int:
        self._bound.append((graph, inputs, outputs))
        return len(self._bound) - 1

    def run(self, handle: int) -> None:
        graph, inputs, outputs = self._bound[handle]
        given: dict[str, NDArray[Any]] = {}
        for view in inputs:
            given[view.name] = np.zeros(view.shape, view.dtype)
            self._memory.download(given[view.name].view(np.uint8).reshape(-1), view.address)
        results = self._run(graph, given)
        arrays = [np.ascontiguousarray(results[view.name], view.dtype) for view in outputs]
        for view, array in zip(outputs, arrays, strict=True):
            self._memory.upload(view.address, array.view(np.uint8).reshape(-1))
        self._memory.synchronise()

    def release(self) -> None:
        self._bound.clear()


class CudaCopyBackend(HostDeviceBackend):
    """Kernels on the GPU, graphs on the CPU."""

    capture = False  # what the CPU does cannot be captured

    def open_device(self) -> tuple[Device, Graphs]:
        device = open_device()
        memory = CudaMemory(device)
        return device, CopiedGraphs(self._run, memory)

    def _run(self, graph: str, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        results = self._sessions.run(graph, inputs)
        self._passed(graph)
        return dict(results)
