# SPDX-License-Identifier: Apache-2.0
"""What a GPU looks things up in: made once, kept while it is used, given back when others come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepose.backends.gpu_tables import GpuTables

from .fake_tensorrt import HostMemory
from .places import HostPlace


def test_the_last_ones_are_kept() -> None:
    place = HostPlace()
    tables = GpuTables(place.device, place.memory, 2)
    asked: list[int] = []

    def find(key: int) -> int:
        def make() -> NDArray[np.int32]:
            asked.append(key)
            return np.arange(8, dtype=np.int32).reshape(2, 4).T + key  # not in C order

        address, shape = tables.find(key, make)
        expected = np.arange(8, dtype=np.int32).reshape(2, 4).T + key
        assert shape == (4, 2)
        np.testing.assert_array_equal(place.read(address, shape, "int32"), expected)
        return address

    assert isinstance(place.memory, HostMemory)
    assert find(1) == find(1) and asked == [1]
    find(2)
    full = place.memory.bytes
    find(1)
    find(3)  # in place of 2, which was used longest ago
    find(1)
    assert asked == [1, 2, 3] and place.memory.bytes == full
    find(2)
    find(3)
    assert asked == [1, 2, 3, 2, 3] and place.memory.bytes == full


def test_an_array_that_cannot_be_made_takes_no_ones_place() -> None:
    place = HostPlace()
    tables = GpuTables(place.device, place.memory, 1)
    kept = tables.find("kept", lambda: np.ones(3))
    for _ in range(2):
        try:
            tables.find("broken", lambda: np.ones(3) / np.array(0, dtype=object))
        except ZeroDivisionError:
            continue
        raise AssertionError
    assert tables.find("kept", lambda: np.zeros(3)) == kept
