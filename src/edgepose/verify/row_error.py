# SPDX-License-Identifier: Apache-2.0
"""How far an answer is from a golden. What is too far does not belong here: bundles say that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["worst_row_error"]


def worst_row_error(actual: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Largest error of a row: a vector along the last axis.

    Args:
        actual: any shape, float.
        expected: the same shape.

    Returns:
        Largest `|actual - expected| / max(|expected|, mean |expected|)`; infinite where `actual` is not
        finite.

    Raises:
        ValueError: the shapes differ.
    """
    wide, target = actual.astype(np.float64), expected.astype(np.float64)
    if wide.shape != target.shape:
        raise ValueError(f"output of shape {wide.shape}, golden of shape {target.shape}")
    if not np.isfinite(wide).all():
        return float("inf")
    lengths = np.linalg.norm(target, axis=-1)
    scale = np.maximum(np.maximum(lengths, lengths.mean()), np.finfo(np.float32).tiny)
    return float((np.linalg.norm(wide - target, axis=-1) / scale).max())
