# SPDX-License-Identifier: Apache-2.0
"""A GPU as the place where frames lie and kernels run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Device
from edgepose.backends.gpu_memory import CudaMemory, GpuMemory

from ..backends.gpu_cases import InterfaceArray


class CudaPlace:
    """A GPU's memory.

    Args:
        gpu: an `edgepose._cuda.CudaDevice`.
    """

    def __init__(self, gpu: Any) -> None:
        self.device: Device = gpu
        self.memory: GpuMemory = CudaMemory(gpu)

    def put(self, array: NDArray[np.uint8]) -> Any:
        # The memory between the first and the last byte; no stride of these tests is negative.
        low = array.ctypes.data
        high = low + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)) + 1
        whole = np.frombuffer(_memory(low, high - low), np.uint8)
        pinned, _ = self.memory.pinned(whole.nbytes)
        pinned[...] = whole
        address = self.memory.allocate(whole.nbytes)
        self.memory.upload(address, pinned)
        self.memory.synchronise()  # so that any stream may read it
        return InterfaceArray(array, data=(address, False))

    def read(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        result = np.zeros(shape, dtype)
        self.memory.download(result.view(np.uint8).reshape(-1), address)
        return result


def _memory(address: int, size: int) -> Any:
    import ctypes

    return (ctypes.c_uint8 * size).from_address(address)
