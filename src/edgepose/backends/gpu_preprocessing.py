# SPDX-License-Identifier: Apache-2.0
"""The vision encoder's input made on the GPU, of a frame that lies there.

Which crop and which frame does not belong here, nor do the kernels: see
cpp/include/edgepose/image_kernels.hpp.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Device, DeviceArray, PixelView
from edgepose.backends.gpu_memory import GpuMemory
from edgepose.gpu_frames import CutPatches, GpuFrame, WarpedCrop

__all__ = ["GpuPreprocessor"]


class GpuPreprocessor:
    """Puts kernels into a device's queue. Memory is taken once for each size of image.

    Args:
        device: whose kernels.
        memory: on the same stream.
    """

    def __init__(self, device: Device, memory: GpuMemory) -> None:
        self._device, self._memory = device, memory
        self._tables: dict[Hashable, int] = {}
        self._images: dict[Hashable, int] = {}

    def fill(self, made: WarpedCrop | CutPatches, target: DeviceArray) -> None:
        """Enqueue what makes an input of the vision encoder.

        Args:
            made: what of which frame.
            target: where to; float32 or float16.
        """
        if made.frame.stream is not None:
            self._memory.wait_for(made.frame.stream)
        if isinstance(made, WarpedCrop):
            self._warp(made, target)
        else:
            self._cut(made, target)

    def _warp(self, made: WarpedCrop, target: DeviceArray) -> None:
        inverse = _inverted(made.crop.matrix(made.size))
        self._device.warp(_view(made.frame), inverse.tolist(), made.mean, made.std, target)

    def _cut(self, made: CutPatches, target: DeviceArray) -> None:
        focal = made.focal
        scaled = self._resized(_view(made.frame), focal.image_size, focal.scaled_size, "lanczos")
        if isinstance(scaled, int):
            width = focal.scaled_size[0]
            (left, top), (crop_width, crop_height) = focal.crop_offset, focal.crop_size
            address, strides = scaled + 3 * (top * width + left), (3 * width, 3, 1)
        else:  # of the same size: the frame itself
            (left, top), (crop_width, crop_height) = focal.crop_offset, focal.crop_size
            strides = made.frame.strides
            address = made.frame.address + top * strides[0] + left * strides[1]
        view = PixelView(address, crop_height, crop_width, strides)
        resized = self._resized(view, focal.crop_size, focal.model_size, "bicubic")
        if isinstance(resized, int):
            width, height = focal.model_size
            view = PixelView(resized, height, width, (3 * width, 3, 1))
        key = ("levels", made.mean, made.std)
        levels = self._table(key, lambda: _levels(made.mean, made.std))
        self._device.cut_patches(view, made.patch, made.merge, levels, target)

    def _resized(
        self,
        view: PixelView,
        size: tuple[int, int],
        target: tuple[int, int],
        kind: Literal["lanczos", "bicubic"],
    ) -> int | None:
        """Address of the image resized, across before down, as Pillow does; None where it has the size."""
        address = None
        width, height = size
        for vertical in (False, True):
            length, wanted = (height, target[1]) if vertical else (width, target[0])
            if length == wanted:
                continue
            width, height = (width, wanted) if vertical else (wanted, height)
            first, weights, taps = self._weights(length, wanted, kind)
            address = self._image((kind, vertical, width, height), 3 * width * height)
            result = PixelView(address, height, width, (3 * width, 3, 1))
            self._device.resample(view, vertical, first, weights, taps, result)
            view = result
        return address

    def _weights(self, size: int, target: int, kind: Literal["lanczos", "bicubic"]) -> tuple[int, int, int]:
        from edgepose.resampling import pillow_weights

        found: list[NDArray[np.int32]] = []

        def part(number: int) -> Callable[[], NDArray[Any]]:
            def make() -> NDArray[Any]:
                if not found:
                    found.extend(pillow_weights(size, target, kind))
                return found[number]

            return make

        first = self._table(("first", size, target, kind), part(0))
        weights = self._table(("weights", size, target, kind), part(1))
        support = {"lanczos": 3.0, "bicubic": 2.0}[kind]
        return first, weights, int(np.ceil(support * max(size / target, 1.0))) * 2 + 1

    def _table(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> int:
        """Address of an array that is uploaded once."""
        if key not in self._tables:
            array = np.ascontiguousarray(make())
            pinned, _ = self._memory.pinned(array.nbytes)
            pinned[...] = array.view(np.uint8).reshape(-1)
            self._tables[key] = self._memory.allocate(array.nbytes)
            self._memory.upload(self._tables[key], pinned)
        return self._tables[key]

    def _image(self, key: Hashable, size: int) -> int:
        if key not in self._images:
            self._images[key] = self._memory.allocate(size)
        return self._images[key]


def _view(frame: GpuFrame) -> PixelView:
    height, width, _ = frame.shape
    return PixelView(frame.address, height, width, frame.strides)


def _inverted(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """`(6,)`: crop pixels to frame pixels, row by row, of the (2, 3) map the other way."""
    (a, b, c), (d, e, f) = matrix.tolist()
    scale = 1.0 / (a * e - b * d)
    a, b, d, e = e * scale, -b * scale, -d * scale, a * scale
    return np.array([a, b, -a * c - b * f, d, e, -d * c - e * f], dtype=np.float32)


def _levels(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """`(256, 3)`: what `edgepose.patches.patchify` makes of each level."""
    values = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)[:, None]
    levels: NDArray[np.float32] = values - np.asarray(mean, dtype=np.float32)
    levels /= np.asarray(std, dtype=np.float32)
    return levels
