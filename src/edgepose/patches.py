# SPDX-License-Identifier: Apache-2.0
"""An image as the rows of patches that a vision encoder of the Qwen-VL kind takes, and where each patch lies.

Sizes and resizing do not belong here: see `edgepose.frame`. Nor does the encoder itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError

__all__ = ["grid_positions", "grid_rope", "patchify"]

# Note [patch order]: patches of one merged token stand together. Of a grid of (rows, cols) patches merged
# (merge, merge) to one, the order is (rows / merge, cols / merge, merge, merge), the last running fastest.


def patchify(
    pixels: NDArray[np.uint8],
    *,
    patch_size: int,
    merge: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> NDArray[np.float32]:
    """The patches of an image, normalised: `(value / 255 - mean) / std`.

    Args:
        pixels: `(h, w, 3)` uint8 RGB; both sides multiples of `patch_size * merge`.
        patch_size: side of a patch, pixels.
        merge: patches per side of a merged token.
        mean: (3,) RGB, subtracted.
        std: (3,) RGB, divided by.

    Returns:
        `(P, 3 * patch_size * patch_size)` float32, C order: P = h * w / patch_size**2 patches in the order of
        Note [patch order], the values of each in the order (channel, row, column). Bit for bit one of the two
        equal time slices of the reference's `pixel_values`.

    Raises:
        InvalidInputError: type, shape or size are not those given here.

    Source:
        transformers, the Qwen2-VL image processor on Pillow and NumPy: rescaled in float64, then normalised
        in float32.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
        got = f"{pixels.dtype} array of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else pixels
        raise InvalidInputError(
            f"[patches] expected an (h, w, 3) uint8 RGB array; got {got!s}; pass the result of "
            "FocalFrame.apply"
        )
    height, width, channels = pixels.shape
    rows, cols = height // patch_size, width // patch_size
    if channels != 3 or (rows * patch_size, cols * patch_size) != (height, width):
        raise InvalidInputError(
            f"[patches] expected 3 channels and sides that are multiples of {patch_size} px; got an array of "
            f"shape {pixels.shape}; pass the result of FocalFrame.apply"
        )
    _check_grid(rows, cols, merge)
    # 256 values per channel are normalised instead of every pixel: same operations, same bits.
    values = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)[:, None]
    levels = (values - np.asarray(mean, dtype=np.float32)) / np.asarray(std, dtype=np.float32)
    grid = pixels.reshape(rows // merge, merge, patch_size, cols // merge, merge, patch_size, 3)
    ordered = grid.transpose(0, 3, 1, 4, 6, 2, 5)  # (rows/m, cols/m, m, m, channel, patch row, patch column)
    patches = np.empty(ordered.shape, dtype=np.float32)
    for channel in range(3):
        patches[:, :, :, :, channel] = levels[:, channel][ordered[:, :, :, :, channel]]
    return patches.reshape(rows * cols, 3 * patch_size * patch_size)


def grid_positions(
    rows: int, cols: int, *, merge: int, table_side: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which rows of a square table of learned positions make up each patch's own, and their shares.

    The table is stretched over the grid, corner on corner, and read bilinearly.

    Args:
        rows: of patches, a multiple of `merge`.
        cols: of patches, a multiple of `merge`.
        merge: patches per side of a merged token.
        table_side: positions per side of the table, which has `table_side**2` rows.

    Returns:
        indices: `(4, P)` int64, rows of the table: above left, above right, below left, below right.
        weights: `(4, P)` float32, at least 0, summing to 1. Patches are in the order of Note [patch order].

    Raises:
        InvalidInputError: the grid is empty or cannot be merged, or the table has no rows.

    Source:
        transformers, Qwen3-VL's vision model; corners aligned.
    """
    _check_grid(rows, cols, merge)
    if table_side < 1:
        raise InvalidInputError(
            f"[patches] expected a table of at least 1x1 positions; got a side of {table_side}; take it from "
            "the vision encoder"
        )
    row, col = _places(rows, cols, merge)
    above, below, down = _taps(row, rows, table_side)
    left, right, across = _taps(col, cols, table_side)
    one = np.float32(1)
    corners = [(above, left), (above, right), (below, left), (below, right)]
    shares = [(one - down, one - across), (one - down, across), (down, one - across), (down, across)]
    indices = np.stack([line * table_side + column for line, column in corners])
    weights = np.stack([vertical * horizontal for vertical, horizontal in shares])
    return indices, weights


def grid_rope(
    rows: int, cols: int, *, merge: int, head_dim: int, theta: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines of the rotary position embedding of patches in two dimensions.

    A quarter of the head's values turns with the row, the next with the column, and both again for the
    second half, as the half-split rotation wants it.

    Args:
        rows: of patches, a multiple of `merge`.
        cols: of patches, a multiple of `merge`.
        merge: patches per side of a merged token.
        head_dim: values of one attention head, a multiple of 4.
        theta: base of the frequencies.

    Returns:
        cos, sin: `(P, head_dim)` float32, patches in the order of Note [patch order].

    Raises:
        InvalidInputError: the grid is empty or cannot be merged, or `head_dim` is not a multiple of 4.

    Source:
        transformers, Qwen3-VL's vision model; angles in float32 as there.
    """
    _check_grid(rows, cols, merge)
    if head_dim < 4 or head_dim % 4:
        raise InvalidInputError(
            f"[patches] expected a head of a multiple of 4 values; got {head_dim}; take it from the vision "
            "encoder"
        )
    half = head_dim // 2
    exponents = np.arange(0, half, 2, dtype=np.float32) / np.float32(half)
    frequencies = np.float32(1) / np.power(np.float32(theta), exponents)
    row, col = _places(rows, cols, merge)
    turns = np.concatenate([row[:, None] * frequencies, col[:, None] * frequencies], axis=1)
    angles = np.concatenate([turns, turns], axis=1).astype(np.float32)
    return np.cos(angles), np.sin(angles)


def _places(rows: int, cols: int, merge: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Row and column of each patch, `(P,)`, in the order of Note [patch order]."""
    blocks = np.indices((rows, cols), dtype=np.float32).reshape(2, rows // merge, merge, cols // merge, merge)
    row, col = blocks.transpose(0, 1, 3, 2, 4).reshape(2, rows * cols)
    return row, col


def _taps(
    place: NDArray[np.float32], count: int, side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Neighbours in a table of `side` places along one axis, and the share of the second, in float32."""
    stretched = place * np.float32(side - 1) / np.float32(max(count - 1, 1))
    first = np.floor(stretched)
    lower = first.astype(np.int64)
    return lower, np.minimum(lower + 1, side - 1), stretched - first


def _check_grid(rows: int, cols: int, merge: int) -> None:
    if merge < 1 or rows < 1 or cols < 1 or rows % merge or cols % merge:
        raise InvalidInputError(
            f"[patches] expected rows and columns of patches in multiples of {merge}; got {rows}x{cols}; "
            "pass an image of FocalFrame.model_size"
        )
