# SPDX-License-Identifier: Apache-2.0
"""Frames that already lie in a GPU's memory, and what is to be made of them there.

Making it does not belong here: see `edgepose.backends.gpu_preprocessing`. Nothing here needs CUDA.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepose.crop import SquareCrop
from edgepose.errors import InvalidInputError
from edgepose.frame import FocalFrame

if TYPE_CHECKING:
    from edgepose.camera import Camera

__all__ = ["CutPatches", "GpuFrame", "WarpedCrop", "gpu_frame"]

_PINNED = 3  # DLPack: host memory that a GPU sees
_CUDA_KINDS = (2, _PINNED, 13)  # GPU memory, that, managed memory
_UINT8 = (1, 8, 1)  # DLPack: unsigned, bits, lanes
_DEFAULT_STREAM = 1


@dataclass(frozen=True, slots=True, eq=False)
class GpuFrame:
    """An image in the memory of a GPU."""

    address: int
    shape: tuple[int, int, int]
    """(H, W, 3) uint8 RGB."""
    strides: tuple[int, int, int]
    """Bytes."""
    stream: int | None
    """That wrote it, to be waited for; None where it is ready."""
    owner: object
    """Keeps the memory."""


@dataclass(frozen=True, slots=True)
class WarpedCrop:
    """`SquareCrop.pixels` of a frame on the GPU."""

    frame: GpuFrame
    crop: SquareCrop
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the vision encoder's input."""
        return 1, 3, self.size, self.size


@dataclass(frozen=True, slots=True)
class CutPatches:
    """`patchify` of `FocalFrame.apply` of `Camera.undistort` of a frame on the GPU."""

    frame: GpuFrame
    camera: Camera
    focal: FocalFrame
    patch: int
    merge: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the vision encoder's input."""
        width, height = self.focal.model_size
        return (width // self.patch) * (height // self.patch), 3 * self.patch**2


def gpu_frame(source: object) -> GpuFrame | None:
    """A frame that lies on a GPU, without a copy; None where the object has nothing to do with a GPU.

    Args:
        source: an object with `__dlpack__` or `__cuda_array_interface__`: a PyCUDA, CuPy or torch array.

    Raises:
        InvalidInputError: it lies on a GPU, but is no (H, W, 3) uint8 array.
    """
    if isinstance(source, (np.ndarray, str, os.PathLike)):
        return None
    kind = getattr(source, "__dlpack_device__", None)
    if kind is not None and int(kind()[0]) in _CUDA_KINDS:
        return _from_dlpack(source, pinned=int(kind()[0]) == _PINNED)
    described = getattr(source, "__cuda_array_interface__", None)
    return None if described is None else _from_interface(source, described)


def _checked(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...] | None, dtype: str, **rest: Any
) -> GpuFrame:
    if dtype != "uint8" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise InvalidInputError(
            f"[image] expected an (H, W, 3) uint8 RGB array on the GPU; got {dtype} of shape {shape}; "
            "convert it there, channels last"
        )
    height, width, channels = shape
    if strides is None:
        strides = width * channels, channels, 1
    return GpuFrame(address, (height, width, channels), strides, **rest)  # type: ignore[arg-type]


def _from_interface(source: object, described: Mapping[str, Any]) -> GpuFrame:
    """Source: the CUDA array interface, version 3, as Numba's documentation has it."""
    stream = described.get("stream", _DEFAULT_STREAM)  # older versions do not say
    return _checked(
        int(described["data"][0]),
        tuple(described["shape"]),
        None if described.get("strides") is None else tuple(described["strides"]),
        np.dtype(described["typestr"]).name,
        stream=stream,
        owner=source,
    )


class _DlTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


def _from_dlpack(source: Any, *, pinned: bool) -> GpuFrame:
    """Source: DLPack's C header, and the array API's protocol for streams."""
    # The producer lets the default stream wait for what it has under way. Host memory has no stream, and
    # torch takes none for it, even where a GPU sees it.
    capsule = source.__dlpack__() if pinned else source.__dlpack__(stream=_DEFAULT_STREAM)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = _DlTensor.from_address(pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[k] for k in range(tensor.ndim))
    strides = tuple(tensor.strides[k] for k in range(tensor.ndim)) if tensor.strides else None
    kind = (tensor.code, tensor.bits, tensor.lanes)
    return _checked(
        (tensor.data or 0) + tensor.byte_offset,
        shape,
        strides,  # in elements, which are bytes here
        "uint8" if kind == _UINT8 else f"DLPack type {kind}",
        stream=_DEFAULT_STREAM,
        owner=capsule,
    )
