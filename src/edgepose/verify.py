# SPDX-License-Identifier: Apache-2.0
"""Runs the goldens of a bundle on this machine: every graph on stored inputs, against PyTorch's stored
answers.

Making goldens does not belong here: their format is described in `edgepose.export.goldens`.
"""

from __future__ import annotations

import os
import platform
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepose.bundle import GRAPHS, LLM_DECODER, Bundle, DecoderSpec, Progress
from edgepose.errors import BackendUnavailableError, BundleError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["GraphResult", "VerifyReport", "verify_bundle"]

_Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class GraphResult:
    """How one graph did on its goldens."""

    name: str
    max_error: float
    """Largest error of a row over all outputs of all cases: a row is a vector along the last axis, its error
    is `|answer - expected| / max(|expected|, mean |expected|)`, infinite where the answer is not finite."""
    tolerance: float
    """What `max_error` may be, as stored in the bundle."""
    seconds: float
    """Loading and running."""

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.max_error <= self.tolerance


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify_bundle` found."""

    bundle: str
    graphs: tuple[GraphResult, ...]
    """In the order in which they run."""
    onnxruntime: str
    """Version that ran them."""

    @property
    def passed(self) -> bool:
        """Whether every graph is within its tolerance."""
        return all(graph.passed for graph in self.graphs)

    def to_json(self) -> dict[str, Any]:
        """The report for `json.dumps`; an error that is not finite becomes null."""
        graphs = [
            {
                **asdict(graph),
                "max_error": graph.max_error if np.isfinite(graph.max_error) else None,
                "passed": graph.passed,
            }
            for graph in self.graphs
        ]
        return {
            "bundle": self.bundle,
            "onnxruntime": self.onnxruntime,
            "passed": self.passed,
            "graphs": graphs,
        }


def verify_bundle(bundle: Bundle | str | os.PathLike[str], progress: Progress | None = None) -> VerifyReport:
    """Checks all hashes of a bundle, then runs its goldens in ONNX Runtime on the CPU.

    INT4 products are computed in float32 and INT8 products without saturation, as at export: the graphs and
    this machine are judged, not the faster arithmetic that `Localizer` chooses.

    Args:
        bundle: An open bundle, or its directory.
        progress: Called with stage, work done and work in all.

    Returns:
        The errors of every graph; a graph that is too far off is reported, not raised.

    Raises:
        BundleError: A file is damaged, or the goldens do not fit the graphs.
        BackendUnavailableError: ONNX Runtime is not installed.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    opened.check_hashes(progress)
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            f"[verify] expected onnxruntime to be importable; got: {error}; "
            "install it: pip install onnxruntime"
        ) from error
    cases = _read_goldens(opened)
    results = []
    for index, name in enumerate(GRAPHS):
        if progress is not None:
            progress(f"run {name}", index, len(GRAPHS))
        started = time.monotonic()
        worst = _run_graph(opened, name, cases[name])
        tolerance = min(case.tolerance for case in cases[name])
        results.append(GraphResult(name, worst, tolerance, time.monotonic() - started))
        if progress is not None:
            progress(f"run {name}", index + 1, len(GRAPHS))
    return VerifyReport(str(opened.path), tuple(results), str(onnxruntime.__version__))


@dataclass(slots=True)
class _Case:
    """One case of one graph."""

    name: str
    inputs: dict[str, NDArray[np.generic]]
    outputs: dict[str, NDArray[np.generic]]
    tolerance: float


def _read_goldens(bundle: Bundle) -> dict[str, list[_Case]]:
    """Cases by graph; at least one for every graph."""
    cases: dict[str, dict[str, _Case]] = {name: {} for name in GRAPHS}
    try:
        with bundle.goldens.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                graph, name, kind, *rest = key.split("/")
                case = cases[graph].setdefault(name, _Case(name, {}, {}, 0.0))
                if kind == "tolerance":
                    case.tolerance = float(archive[key])
                else:
                    {"input": case.inputs, "output": case.outputs}[kind][rest[0]] = archive[key]
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise _refuse(bundle, f"got one that cannot be read: {type(error).__name__}: {error}") from error
    empty = [name for name in GRAPHS if not any(case.outputs for case in cases[name].values())]
    if empty:
        raise _refuse(bundle, f"got none for {', '.join(empty)}")
    return {name: list(group.values()) for name, group in cases.items()}


def _run_graph(bundle: Bundle, name: str, cases: list[_Case]) -> float:
    """Largest error of a graph over its cases."""
    caches = _DecoderCaches(bundle.manifest.decoder) if name == LLM_DECODER else None
    worst = 0.0
    try:
        session = _open_session(bundle, name)
        outputs = [value.name for value in session.get_outputs()]
        for case in cases:
            given = caches.inputs(case) if caches is not None else {}
            answers = dict(zip(outputs, session.run(outputs, {**case.inputs, **given}), strict=True))
            if caches is not None:
                caches.keep(answers)
            for output, expected in case.outputs.items():
                worst = max(worst, _worst_row_error(answers[output], expected))
    except BundleError:
        raise
    except Exception as error:  # ONNX Runtime's classes have no base of their own
        raise _refuse(bundle, f"{name} did not run on its own: {type(error).__name__}: {error}") from error
    return worst


def _open_session(bundle: Bundle, name: str) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if platform.machine().lower() in ("x86_64", "amd64"):
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(bundle.graph(name)), options, providers=["CPUExecutionProvider"])


class _DecoderCaches:
    """Builds the caches of each case from the answers to the cases before it: see the format of goldens."""

    def __init__(self, decoder: DecoderSpec) -> None:
        self._decoder = decoder
        self._answers: list[_Arrays] = []

    def keep(self, answers: _Arrays) -> None:
        """Takes note of the answers to a case."""
        self._answers.append(answers)

    def inputs(self, case: _Case) -> dict[str, NDArray[np.generic]]:
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


def _worst_row_error(actual: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    wide, target = actual.astype(np.float64), expected.astype(np.float64)
    if wide.shape != target.shape:
        raise ValueError(f"output of shape {wide.shape}, golden of shape {target.shape}")
    if not np.isfinite(wide).all():
        return float("inf")
    lengths = np.linalg.norm(target, axis=-1)
    scale = np.maximum(np.maximum(lengths, lengths.mean()), np.finfo(np.float32).tiny)
    return float((np.linalg.norm(wide - target, axis=-1) / scale).max())


def _refuse(bundle: Bundle, got: str) -> BundleError:
    return BundleError(
        f"[verify {bundle.path}] expected {bundle.goldens.name} to hold inputs and answers for every graph; "
        f"{got}; export the bundle again"
    )
