# SPDX-License-Identifier: Apache-2.0
"""Reads the goldens of a bundle, and builds the caches that its decoder's cases leave out.

Their format is described in `edgepose.export.goldens`; running them does not belong here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose.bundle import GRAPHS, Bundle, DecoderSpec
from edgepose.errors import BundleError

__all__ = ["Arrays", "Case", "DecoderCaches", "read_goldens", "unusable"]

Arrays: TypeAlias = Mapping[str, NDArray[np.generic]]
"""Inputs or outputs of a graph, by name."""


@dataclass(slots=True)
class Case:
    """One case of one graph."""

    name: str
    inputs: dict[str, NDArray[np.generic]]
    outputs: dict[str, NDArray[np.generic]]
    tolerance: float


def read_goldens(bundle: Bundle) -> dict[str, list[Case]]:
    """Cases by graph; at least one for every graph.

    Raises:
        BundleError: the file cannot be read, or a graph has no case.
    """
    cases: dict[str, dict[str, Case]] = {name: {} for name in GRAPHS}
    try:
        with bundle.goldens.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                graph, name, kind, *rest = key.split("/")
                case = cases[graph].setdefault(name, Case(name, {}, {}, 0.0))
                if kind == "tolerance":
                    case.tolerance = float(archive[key])
                else:
                    {"input": case.inputs, "output": case.outputs}[kind][rest[0]] = archive[key]
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise unusable(bundle, f"got one that cannot be read: {type(error).__name__}: {error}") from error
    empty = [name for name in GRAPHS if not any(case.outputs for case in cases[name].values())]
    if empty:
        raise unusable(bundle, f"got none for {', '.join(empty)}")
    return {name: list(group.values()) for name, group in cases.items()}


def unusable(bundle: Bundle, got: str) -> BundleError:
    """The error for goldens that do not fit their bundle."""
    return BundleError(
        f"[verify {bundle.path}] expected {bundle.goldens.name} to hold inputs and answers for every graph; "
        f"{got}; export the bundle again"
    )


class DecoderCaches:
    """Builds the caches of each case from the answers to the cases before it: see the format of goldens."""

    def __init__(self, decoder: DecoderSpec) -> None:
        self._decoder = decoder
        self._answers: list[Arrays] = []

    def keep(self, answers: Arrays) -> None:
        """Takes note of the answers to a case."""
        self._answers.append(answers)

    def inputs(self, case: Case) -> dict[str, NDArray[np.generic]]:
        """Caches of the next case: prefix (kv_heads, 1, P, head_dim), suffix (kv_heads, N, S, head_dim)."""
        heads, width = self._decoder.kv_heads, self._decoder.head_dim
        embeddings = case.inputs["embeddings"]
        rows, tokens, _ = embeddings.shape
        found: dict[str, NDArray[np.generic]] = {}
        for layer in range(self._decoder.layers):
            for kind in ("key", "value"):
                name = f"{kind}.{layer}"
                prefix: NDArray[np.generic] = np.zeros((heads, 1, 0, width), dtype=embeddings.dtype)
                if self._answers:
                    prefix = self._answers[0][name]
                capacity = case.inputs["bias"].shape[2] - prefix.shape[2] - tokens
                suffix = np.zeros((heads, rows, capacity, width), dtype=embeddings.dtype)
                if len(self._answers) > 1:
                    earlier = self._answers[1][name]
                    suffix[:, :, : earlier.shape[2]] = earlier
                found[f"prefix_{name}"], found[f"suffix_{name}"] = prefix, suffix
        return found
