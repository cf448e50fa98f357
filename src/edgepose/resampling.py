# SPDX-License-Identifier: Apache-2.0
"""The weights and the order in which Pillow resamples images, for whoever resamples without Pillow.

Applying them does not belong here: see cpp/include/edgepose/image_kernels.hpp.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["pillow_order", "pillow_weights"]

_BITS = 22  # of fractions


def pillow_order(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Which axis the Pillow at hand resamples first, between which images are rounded: 0 across, 1 down.

    Args:
        size: (width, height), pixels.
        target: (width, height) of the result.

    Source:
        Pillow's Resample.c: across first, but from Pillow 13 on down first where more than twice as many
        rows are lost as columns.
    """
    import PIL

    rows, columns = size[1] - target[1], size[0] - target[0]
    down_first = int(PIL.__version__.split(".")[0]) >= 13 and rows > 0 and rows > 2 * columns
    return (1, 0) if down_first else (0, 1)


def pillow_weights(
    size: int, target: int, kind: Literal["lanczos", "bicubic"]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Which neighbours make up each pixel along one axis, and with what weights.

    Args:
        size: of the axis, pixels.
        target: its size in the result.
        kind: of the filter.

    Returns:
        first: `(target,)` int32, first neighbour of each pixel.
        weights: `(target, taps)` int32 in units of 2**-22, zeros behind the last neighbour.

    Source:
        Pillow's Resample.c, images of 8 bits.
    """
    support, curve = {"lanczos": (3.0, _lanczos), "bicubic": (2.0, _bicubic)}[kind]
    scale = size / target
    stretch = max(scale, 1.0)
    reach = support * stretch
    taps = math.ceil(reach) * 2 + 1
    first = np.zeros(target, np.int32)
    weights = np.zeros((target, taps), np.int32)
    for place in range(target):
        center = (place + 0.5) * scale
        low = max(0, int(center - reach + 0.5))
        high = min(size, int(center + reach + 0.5))
        shares = [curve((k + low - center + 0.5) * (1.0 / stretch)) for k in range(high - low)]
        total = sum(shares)
        for k, share in enumerate(shares):
            number = share / total * (1 << _BITS) if total else share * (1 << _BITS)
            weights[place, k] = int(number - 0.5) if number < 0 else int(number + 0.5)
        first[place] = low
    return first, weights


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(x * math.pi) / (x * math.pi)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


def _bicubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0
