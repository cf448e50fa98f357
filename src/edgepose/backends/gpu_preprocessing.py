# SPDX-License-Identifier: Apache-2.0
"""The vision encoder's input made on the GPU, of a frame that lies there.

Which crop and which frame does not belong here, nor do the kernels: see
cpp/include/edgepose/image_kernels.hpp.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Device, DeviceArray, PixelView
from edgepose.backends.gpu_memory import GpuMemory
from edgepose.backends.gpu_tables import GpuTables
from edgepose.camera import Camera
from edgepose.gpu_frames import CutPatches, GpuFrame, WarpedCrop

__all__ = ["GpuPreprocessor"]

_TABLES_KEPT = 16  # a camera's frames use at most five
_MAPS_KEPT = 4  # cameras; 8 bytes for each pixel of the image


class GpuPreprocessor:
    """Puts kernels into a device's queue. Memory is taken for the largest image and the last few cameras.

    Args:
        device: whose kernels.
        memory: on the same stream.
    """

    def __init__(self, device: Device, memory: GpuMemory) -> None:
        self._device, self._memory = device, memory
        self._tables = GpuTables(device, memory, _TABLES_KEPT)
        self._maps = GpuTables(device, memory, _MAPS_KEPT)
        self._images: dict[Hashable, tuple[int, int]] = {}

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
        view = _view(made.frame)
        if made.camera.is_distorted:
            view = self._undistorted(view, made.camera)
        view = self._resized(view, focal.scaled_size, "lanczos")
        view = _part(view, focal.crop_offset, focal.crop_size)
        view = self._resized(view, focal.model_size, "bicubic")
        levels, _ = self._tables.find(("levels", made.mean, made.std), lambda: _levels(made.mean, made.std))
        self._device.cut_patches(view, made.patch, made.merge, levels, target)

    def _undistorted(self, view: PixelView, camera: Camera) -> PixelView:
        """What `Camera.undistort` makes of an image of this camera's size."""
        places, _ = self._maps.find(
            camera, lambda: np.stack(camera.lens.undistortion(camera.matrix, camera.size))
        )
        result = self._image("undistorted", camera.size)
        self._device.remap(view, places, result)
        return result

    def _resized(
        self, view: PixelView, target: tuple[int, int], kind: Literal["lanczos", "bicubic"]
    ) -> PixelView:
        """The image in another size as Pillow makes it; itself where it has the size."""
        from edgepose.resampling import pillow_order

        for axis in pillow_order((view.width, view.height), target):
            size = [view.width, view.height]
            if size[axis] == target[axis]:
                continue
            first, weights, taps = self._weights(size[axis], target[axis], kind)
            size[axis] = target[axis]
            result = self._image((kind, axis), (size[0], size[1]))
            self._device.resample(view, axis == 1, first, weights, taps, result)
            view = result
        return view

    def _weights(self, size: int, target: int, kind: Literal["lanczos", "bicubic"]) -> tuple[int, int, int]:
        """Addresses of what `pillow_weights` returns, and how many neighbours there are."""
        from edgepose.resampling import pillow_weights

        address, (count,) = self._tables.find(
            (size, target, kind),
            lambda: np.concatenate([part.reshape(-1) for part in pillow_weights(size, target, kind)]),
        )
        return address, address + target * np.dtype(np.int32).itemsize, count // target - 1

    def _image(self, step: Hashable, size: tuple[int, int]) -> PixelView:
        """Memory for what a step makes, valid until the step is done again."""
        width, height = size
        address, room = self._images.get(step, (0, 0))
        if room < 3 * width * height:
            if room:
                del self._images[step]
                self._device.synchronise()  # kernels may still read it
                self._memory.free(address)
            room = 3 * width * height
            address = self._memory.allocate(room)
            self._images[step] = address, room
        return PixelView(address, height, width, (3 * width, 3, 1))


def _view(frame: GpuFrame) -> PixelView:
    height, width, _ = frame.shape
    return PixelView(frame.address, height, width, frame.strides)


def _part(view: PixelView, offset: tuple[int, int], size: tuple[int, int]) -> PixelView:
    (left, top), (width, height) = offset, size
    address = view.address + top * view.strides[0] + left * view.strides[1]
    return PixelView(address, height, width, view.strides)


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
