# SPDX-License-Identifier: Apache-2.0
"""Arrays that lie where a device can see them, in the forms in which other libraries hand them over."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray


class InterfaceArray:
    """`__cuda_array_interface__` over memory of a NumPy array."""

    def __init__(self, array: NDArray[Any], **changes: Any) -> None:
        self.array, self.shape = array, array.shape
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "version": 3,
            "strides": None if array.flags.c_contiguous else array.strides,
            "stream": None,
        } | changes


class DlpackArray:
    """DLPack over memory of a NumPy array, which it says to be a GPU's, or of another kind."""

    def __init__(self, array: NDArray[np.uint8], kind: int = 2) -> None:
        self.array, self.kind = array, kind
        self.streams: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        from edgepose.gpu_frames import _DlTensor

        self.streams.append(stream)
        capsule = self.array.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        _DlTensor.from_address(pointer(capsule, b"dltensor")).device_type = self.kind
        return capsule
