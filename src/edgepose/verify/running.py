# SPDX-License-Identifier: Apache-2.0
"""Runs every case of every graph and measures the answers.

What runs a graph does not belong here: see `edgepose.verify.runtime`.
"""

from __future__ import annotations

import os
import time

from edgepose.bundle import GRAPHS, LLM_DECODER, Bundle
from edgepose.errors import EdgePoseError
from edgepose.progress import Progress
from edgepose.verify.goldens import Arrays, Case, DecoderCaches, read_goldens, unusable
from edgepose.verify.report import CaseRun, GraphResult, NotRun, VerifyReport
from edgepose.verify.row_error import worst_row_error
from edgepose.verify.runtime import OpenGraph, Runtime

__all__ = ["verify_bundle"]


def verify_bundle(
    bundle: Bundle | str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    engines: str | os.PathLike[str] | None = None,
) -> VerifyReport:
    """Checks all hashes of a bundle, then runs its goldens, in ONNX Runtime on the CPU or through engines.

    In ONNX Runtime INT4 products are computed in float32 and INT8 products without saturation, as at export:
    the graphs and this machine are judged, not the faster arithmetic that `Localizer` chooses. Engines are
    judged as they run for `Localizer`: each case in every profile that takes it, with the same tolerances.

    Args:
        bundle: An open bundle, or its directory.
        progress: Called with stage, work done and work in all.
        engines: Directory written by `edgepose build`; None for ONNX Runtime.

    Returns:
        The errors of every graph; a graph that is too far off is reported, not raised, as is a case whose
        shapes no profile takes.

    Raises:
        BundleError: A file is damaged, or the goldens do not fit the graphs.
        EngineMismatchError: The engines are damaged, or were built for another machine or bundle.
        BackendUnavailableError: ONNX Runtime is not installed; or the engines' library, or its GPU, is not
            there.
        BackendError: The library refuses an engine or a run.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    opened.check_hashes(progress)
    runtime = _open_runtime(opened, engines, progress)
    goldens = read_goldens(opened)
    results = []
    for index, name in enumerate(GRAPHS):
        if progress is not None:
            progress(f"run {name}", index, len(GRAPHS))
        results.append(_run_graph(opened, runtime, name, goldens[name]))
        if progress is not None:
            progress(f"run {name}", index + 1, len(GRAPHS))
    return VerifyReport(
        bundle=str(opened.path),
        runtime=runtime.name,
        runtime_version=runtime.version,
        graphs=tuple(results),
        engines=None if engines is None else os.fspath(engines),
    )


def _open_runtime(
    bundle: Bundle, engines: str | os.PathLike[str] | None, progress: Progress | None
) -> Runtime:
    if engines is None:
        from edgepose.verify.sessions import SessionRuntime

        return SessionRuntime(bundle)
    from edgepose.verify.engine_runs import EngineRuntime

    return EngineRuntime(bundle, engines, progress)


def _run_graph(bundle: Bundle, runtime: Runtime, name: str, cases: list[Case]) -> GraphResult:
    started = time.monotonic()
    caches = DecoderCaches(bundle.manifest.decoder) if name == LLM_DECODER else None
    runs: list[CaseRun] = []
    not_run: list[NotRun] = []
    with runtime.open(name) as graph:
        try:
            for case in cases:
                if caches is not None and not_run:  # its caches would come from a case without an answer
                    not_run.append(NotRun(f"case {case.name}", f"it builds on {not_run[0].what}"))
                    continue
                given = {} if caches is None else caches.inputs(case)
                done, answers, misfits = _run_case(graph, case, {**case.inputs, **given})
                runs += done
                if answers is None:
                    not_run.append(NotRun(f"case {case.name}", "; ".join(misfits)))
                elif caches is not None:
                    caches.keep(answers)
        except EdgePoseError:
            raise
        except (LookupError, ValueError) as error:  # goldens that do not fit each other, or the graph
            raise unusable(
                bundle, f"{name} did not run on its own: {type(error).__name__}: {error}"
            ) from error
        used = {run.profile for run in runs}
        not_run += [
            NotRun(f"profile {profile}", "it takes no stored case")
            for profile in graph.profiles
            if profile not in used
        ]
    tolerance = min(case.tolerance for case in cases)
    return GraphResult(name, tolerance, time.monotonic() - started, tuple(runs), tuple(not_run))


def _run_case(graph: OpenGraph, case: Case, inputs: Arrays) -> tuple[list[CaseRun], Arrays | None, list[str]]:
    """A case in every profile.

    Returns:
        Its runs, the answers of the first, and why the other profiles do not take it.
    """
    runs: list[CaseRun] = []
    misfits: list[str] = []
    first: Arrays | None = None
    for profile in graph.profiles:
        answers = graph.run(inputs, profile)
        if not answers.copies:
            misfits.append(answers.misfit)
            continue
        if first is None:
            first = answers.copies[0]
        errors = [
            worst_row_error(copy[name], expected)
            for copy in answers.copies
            for name, expected in case.outputs.items()
        ]
        runs.append(CaseRun(case.name, profile, max(errors, default=0.0)))
    return runs, first, misfits
