# SPDX-License-Identifier: Apache-2.0
"""Weights and order of resampling against Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from edgepose.resampling import pillow_order, pillow_weights


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["lanczos", "bicubic"])
@pytest.mark.parametrize(("size", "target"), [(100, 37), (37, 100), (640, 1066), (3, 1), (1, 5)])
def test_weights_are_those_of_pillow(kind: Any, size: int, target: int) -> None:
    row = noise(1, size)[0]
    filters = {"lanczos": PIL.Image.Resampling.LANCZOS, "bicubic": PIL.Image.Resampling.BICUBIC}
    expected = np.asarray(PIL.Image.fromarray(row[None]).resize((target, 1), filters[kind]))[0]
    np.testing.assert_array_equal(resampled(row[None], 1, target, kind)[0], expected)


def resampled(image: NDArray[np.uint8], axis: int, target: int, kind: Any) -> NDArray[np.uint8]:
    """Along one axis of the array."""
    first, weights = pillow_weights(image.shape[axis], target, kind)
    lines = np.moveaxis(image, axis, 0).astype(np.int64)
    padded = np.concatenate([lines, np.zeros((weights.shape[1], *lines.shape[1:]), np.int64)])
    sums = [np.tensordot(w, padded[f : f + len(w)], 1) for f, w in zip(first, weights, strict=True)]
    levels = np.clip((np.stack(sums) + (1 << 21)) >> 22, 0, 255).astype(np.uint8)
    return np.moveaxis(levels, 0, axis)


@pytest.mark.parametrize("kind", ["lanczos", "bicubic"])
def test_axes_are_resampled_in_the_order_of_pillow(kind: Any) -> None:
    filters = {"lanczos": PIL.Image.Resampling.LANCZOS, "bicubic": PIL.Image.Resampling.BICUBIC}
    orders = set()
    for size, target in (
        ((60, 40), (50, 30)),
        ((60, 40), (56, 30)),
        ((60, 40), (55, 30)),
        ((60, 40), (70, 39)),
        ((60, 40), (70, 50)),
        ((60, 40), (50, 44)),
        ((60, 40), (59, 40)),
    ):
        image = noise(size[1], size[0])
        expected = np.asarray(PIL.Image.fromarray(image).resize(target, filters[kind]))
        orders.add(pillow_order(size, target))
        for axis in pillow_order(size, target):
            if image.shape[1 - axis] != target[axis]:
                image = resampled(image, 1 - axis, target[axis], kind)
        np.testing.assert_array_equal(image, expected)
    assert len(orders) == (1 if int(PIL.__version__.split(".")[0]) < 13 else 2)
