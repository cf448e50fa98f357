# SPDX-License-Identifier: Apache-2.0
"""Arrays that a GPU looks things up in: made on the host, uploaded once, given back when others come.

What they hold does not belong here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Device
from edgepose.backends.gpu_memory import GpuMemory

__all__ = ["GpuTables"]


class GpuTables:
    """The arrays that were used last, by key, so that ever new keys take no ever more memory.

    Args:
        device: whose kernels read them.
        memory: on the same stream.
        most: how many are kept.
    """

    def __init__(self, device: Device, memory: GpuMemory, most: int) -> None:
        self._device, self._memory, self._most = device, memory, most
        self._kept: OrderedDict[Hashable, tuple[int, tuple[int, ...]]] = OrderedDict()

    def find(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> tuple[int, tuple[int, ...]]:
        """Address and shape of an array, valid for kernels that are enqueued before the next call.

        Args:
            key: of the array.
            make: makes it where it is not kept; C order.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        array = np.ascontiguousarray(make())
        if len(self._kept) == self._most:
            _, (oldest, _) = self._kept.popitem(last=False)
            self._device.synchronise()  # kernels may still read it
            self._memory.free(oldest)
        address = self._memory.allocate(array.nbytes)
        self._memory.upload(address, array.view(np.uint8).reshape(-1))
        self._memory.synchronise()  # the array goes
        self._kept[key] = address, array.shape
        return self._kept[key]
