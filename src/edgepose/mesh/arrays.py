# SPDX-License-Identifier: Apache-2.0
"""Checks of the arrays that make a mesh.

What is done with a mesh does not belong here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError

__all__ = ["checked_faces", "checked_points"]


def checked_points(what: str, points: ArrayLike, *, gaps: bool = False) -> NDArray[np.float64]:
    """`(N, 3)` float64, at least one, all finite, or with `gaps` NaN for those that are missing.

    Raises:
        InvalidInputError: they are not.
    """
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"[mesh] expected {what} of shape (N, 3); got {points!r}; pass an array"
        ) from error
    if array.ndim != 2 or array.shape[1] != 3 or not len(array):
        raise InvalidInputError(
            f"[mesh] expected {what} of shape (N, 3), at least one; got shape {array.shape}; pass x, y, z"
        )
    bad = np.isinf(array) if gaps else ~np.isfinite(array)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        raise InvalidInputError(
            f"[mesh] expected finite {what}; got {array[row].tolist()} in row {row} of {len(array)}; take "
            "out what is not known"
        )
    return array


def checked_faces(faces: ArrayLike, vertices: int) -> NDArray[np.int64]:
    """`(F, 3)` int64, at least one, places of `vertices` vertices.

    Raises:
        InvalidInputError: they are not.
    """
    array = np.asarray(faces)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or array.dtype.kind not in "iu":
        raise InvalidInputError(
            "[mesh] expected faces of shape (F, 3), whole numbers, at least one; got "
            f"{array.dtype} of shape {array.shape}; pass three places of vertices for each triangle"
        )
    if array.min() < 0 or array.max() >= vertices:
        raise InvalidInputError(
            f"[mesh] expected faces of vertices 0 to {vertices - 1}; got {int(array.min())} to "
            f"{int(array.max())}; count from 0, and pass the vertices that belong to these faces"
        )
    return array.astype(np.int64)
