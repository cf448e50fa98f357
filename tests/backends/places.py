# SPDX-License-Identifier: Apache-2.0
"""Where frames lie and kernels run: in host memory, or on a GPU."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Device, HostDevice
from edgepose.backends.gpu_memory import GpuMemory

from .fake_tensorrt import HostMemory
from .gpu_cases import InterfaceArray


class Place(Protocol):
    """A device, its memory, and arrays in it."""

    device: Device
    memory: GpuMemory

    def put(self, array: NDArray[np.uint8]) -> Any:
        """The array there, strides included, as an object with `__cuda_array_interface__`."""
        ...

    def read(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """What lies there, when all is done."""
        ...


class HostPlace:
    """Host memory."""

    def __init__(self) -> None:
        self.device: Device = HostDevice()
        self.memory: GpuMemory = HostMemory()

    def put(self, array: NDArray[np.uint8]) -> Any:
        return InterfaceArray(array)

    def read(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        self.device.synchronise()
        result = np.zeros(shape, dtype)
        self.memory.download(result.view(np.uint8).reshape(-1), address)
        return result
