# SPDX-License-Identifier: Apache-2.0
"""Goldens: inputs of every graph with what PyTorch answered, stored in the bundle for `edgepose verify`.

Computing the answers belongs to `edgepose.export.parity`, comparing them to `edgepose.verify`.

`goldens.npz` is an uncompressed NumPy archive. Each case of a graph is a group of arrays:

    GRAPH/CASE/input/NAME     an input of the graph, in the type that the graph takes
    GRAPH/CASE/output/NAME    what PyTorch computed in float32 with the weights as the graph stores them
    GRAPH/CASE/tolerance      () float64: largest error of a row, as defined in `edgepose.verify`

Cases have the order of the archive. `llm_decoder` has three, and none holds a cache, because each takes over
the keys and values that the graph itself answered to the cases before it:

    prefix    one row, P = S = 0
    suffix    N rows, padded to the longest; the prefix cache holds the keys and values of `prefix`; S = 0
    decode    N rows; prefix cache as before; suffix caches of S slots, S = K - P - T by the width of `bias`,
              that hold the keys and values of `suffix` in their first slots and zeros in the others
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Golden", "sample_pixels", "worst_row_error", "write_goldens"]


@dataclass(frozen=True, slots=True, repr=False)
class Golden:
    """One case of one graph."""

    graph: str
    case: str
    inputs: Mapping[str, NDArray[np.generic]]
    outputs: Mapping[str, NDArray[np.float32]]
    tolerance: float

    def __repr__(self) -> str:
        shapes = {name: array.shape for name, array in {**self.inputs, **self.outputs}.items()}
        return f"Golden({self.graph}/{self.case}, {shapes})"


def write_goldens(path: Path, goldens: Sequence[Golden]) -> None:
    """Writes `goldens.npz`; the format is in this module's docstring."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for golden in goldens:
        group = f"{golden.graph}/{golden.case}"
        arrays.update({f"{group}/input/{name}": array for name, array in golden.inputs.items()})
        arrays.update({f"{group}/output/{name}": array for name, array in golden.outputs.items()})
        arrays[f"{group}/tolerance"] = np.array(golden.tolerance)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def sample_pixels(size: int, seed: int) -> NDArray[np.float32]:
    """A smooth picture without noise: a few waves per channel.

    Args:
        size: Side, pixels.
        seed: Chooses the waves.

    Returns:
        `(1, 3, size, size)` float32 in about -2 to 2, as normalised images are.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    picture = np.zeros((1, 3, size, size), dtype=np.float32)
    for channel in range(3):
        for _ in range(4):
            fx, fy, phase = random.uniform((-6, -6, 0), (6, 6, 2 * np.pi))
            picture[0, channel] += 0.5 * np.sin(2 * np.pi * (fx * x + fy * y) + phase)
    return picture


def worst_row_error(actual: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Largest error of a row (a vector along the last axis), relative to its length.

    Args:
        actual: Any shape, float.
        expected: The same shape.

    Returns:
        Largest `|actual - expected| / max(|expected|, mean |expected|)`; infinite where `actual` is not
        finite.
    """
    wide, target = actual.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(wide).all():
        return float("inf")
    lengths = np.linalg.norm(target, axis=-1)
    errors = np.linalg.norm(wide - target, axis=-1)
    floor = np.maximum(lengths, lengths.mean())
    return float((errors / np.maximum(floor, np.finfo(np.float32).tiny)).max())
