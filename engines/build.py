# SPDX-License-Identifier: Apache-2.0
"""Builds the engines of a bundle by a recipe, component by component, or checks that they could be built.

What compiles one graph does not belong here: see `edgepose.engines.compiler`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgepose.bundle import MANIFEST_FILE, Bundle, external_data_file, graph_file
from edgepose.engine import ENGINE_FORMAT, BundleIdentity, EngineManifest, RecipeIdentity
from edgepose.engine_check import Platform
from edgepose.engine_component import Component, engine_file, graph_hash
from edgepose.engines.compiler import Compiler
from edgepose.engines.memory import (
    ComponentMemory,
    MemoryEstimate,
    estimate_memory,
    free_memory,
    peak_memory,
    refuse_if_short,
)
from edgepose.engines.plan import BuildPlan, plan_build
from edgepose.engines.recipe import Recipe, load_recipe
from edgepose.engines.report import BuildReport, ComponentReport
from edgepose.engines.staging import StagedEngines
from edgepose.engines.timing_cache import TimingCache
from edgepose.errors import BundleError, EngineMismatchError
from edgepose.file_hash import hash_file
from edgepose.progress import Progress

__all__ = ["build_engines", "default_out"]


def default_out(bundle: Bundle, recipe: Recipe) -> Path:
    """Where engines go if nobody says: `BUNDLE.RECIPE.engines`, beside the bundle; for bundles that ship with
    the package, in the working directory."""
    folder = bundle.path.resolve()
    packaged = Path(sys.modules[Bundle.__module__].__file__ or "").parent
    beside = Path.cwd() if folder.is_relative_to(packaged) else folder.parent
    return beside / f"{folder.name}.{recipe.name}.engines"


def build_engines(
    bundle: str | os.PathLike[str],
    recipe: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    timing_cache: str | os.PathLike[str] | None = None,
    check: bool = False,
    free: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build the engines of a bundle, or those alone that have changed.

    Args:
        bundle: directory, or the name of a model that ships with the package.
        recipe: name, or a TOML file.
        out: engine directory to make or to replace; None for `default_out`.
        timing_cache: file that keeps what the compiler measured; made where there is none.
        check: parse, check shapes at every point of every profile and estimate memory, but compile nothing
            and write nothing. Where TensorRT or its GPU is not here, TensorRT-RTX parses in its place.
        free: bytes of memory that may be taken; None for what is free.
        progress: called with a stage's name, what is done and what there is.

    Raises:
        BundleError: the bundle is damaged, too new, of another precision than the recipe wants, or has a
            graph that TensorRT 10.3 would not parse.
        InvalidInputError: the recipe is wrong, or `out` cannot be written.
        BackendUnavailableError: the recipe's runtime is not installed, or needs a GPU that is not here.
        EngineMismatchError: the GPU is not the recipe's, or the timing cache is of another machine.
        BackendError: parser or compiler refuse a graph, or memory would not suffice.
    """
    start = time.perf_counter()
    plan = plan_build(Bundle.open(bundle), load_recipe(recipe), check=check)
    target = default_out(plan.bundle, plan.recipe) if out is None else Path(out)
    cache = None if timing_cache is None or check else TimingCache(timing_cache, plan.platform)
    there = None if check else _existing(target)
    fresh = [name for name in plan.graphs if there is None or not _is_current(there, plan, name, target)]
    # What is current has been estimated when it was built, and its bundle has not changed since.
    estimate = None if not fresh else _estimate(plan, progress)
    if estimate is not None:
        available = free_memory() if free is None else free
        device = plan.platform.device
        refuse_if_short(
            estimate,
            plan.bundle,
            plan.recipe,
            free=available,
            building=[] if check else fresh,
            device=None if device is None else device.memory,
        )
    by = f"{plan.library.name} {plan.library.version}"
    report = BuildReport.begin(plan.recipe.name, plan.bundle, plan.platform, by, target, estimate)
    if check:
        components = {
            name: ComponentReport("checked", 0.0, 0, len(plan.profiles[name])) for name in plan.graphs
        }
        return report.end("checked", components, time.perf_counter() - start)
    identity = _identity(plan.bundle)
    recipe_used = RecipeIdentity(plan.recipe.name, plan.recipe.numbers())
    if there is not None and not fresh and _says(there) == (identity, recipe_used, plan.platform):
        components = {name: ComponentReport.of(there.components[name], "kept") for name in plan.graphs}
        return report.end("up to date", components, time.perf_counter() - start)
    built: dict[str, Component] = {}
    components = {}
    with StagedEngines(target) as staged:
        for name in plan.recipe.build.order:
            if there is not None and name not in fresh:
                staged.keep(there.components[name].file)
                built[name] = there.components[name]
                components[name] = ComponentReport.of(built[name], "kept")
                continue
            built[name] = _build(plan, name, staged.path, cache, progress)
            components[name] = ComponentReport.of(built[name], "built", peak=peak_memory())
        manifest = EngineManifest(
            ENGINE_FORMAT,
            identity,
            recipe_used,
            built,
            plan.platform,
            version("edgepose"),
            datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        manifest.write(staged.path)
        staged.commit()
    return report.end("built", components, time.perf_counter() - start)


def _identity(bundle: Bundle) -> BundleIdentity:
    manifest = bundle.manifest
    return BundleIdentity(
        hash_file(bundle.path / MANIFEST_FILE),
        manifest.format_version,
        manifest.family,
        manifest.precision.name,
        str(bundle.path.resolve()),
    )


def _existing(target: Path) -> EngineManifest | None:
    """The engines that are there; None where none can be kept."""
    if not target.is_dir():
        return None
    try:
        return EngineManifest.read(target, check_files=False)
    except EngineMismatchError:
        return None  # damaged, or of another format: all is built anew


def _says(there: EngineManifest) -> tuple[BundleIdentity, RecipeIdentity, Platform]:
    return there.bundle, there.recipe, there.platform


def _is_current(there: EngineManifest, plan: BuildPlan, name: str, target: Path) -> bool:
    component = there.components.get(name)
    return component is not None and component.key == plan.keys[name] and not component.problems(target)


def _estimate(plan: BuildPlan, progress: Progress | None) -> MemoryEstimate:
    """Parses every graph and checks its shapes; nothing is compiled."""
    found = {}
    for done, (name, graph) in enumerate(plan.graphs.items()):
        if progress is not None:
            progress(f"check {name}", done, len(plan.graphs))
        live = Compiler(plan.library, graph).activation_bytes(plan.profiles[name])
        found[name] = ComponentMemory.of(
            plan.recipe.target.runtime, weights=graph.bytes, nodes=len(graph.model.graph.node), live=live
        )
        _release_memory()
    return estimate_memory(plan.bundle, plan.recipe, plan.lengths, found)


def _build(
    plan: BuildPlan, name: str, folder: Path, cache: TimingCache | None, progress: Progress | None
) -> Component:
    start = time.perf_counter()
    graph, files = plan.graphs[name], plan.bundle.manifest.files
    for file in (graph_file(name), external_data_file(name)):
        # Small files were compared when the bundle was opened; a damaged large one must not be compiled.
        if file in files and files[file].bytes > 64 << 20:
            if (got := hash_file(plan.bundle.path / file, progress)) != files[file].sha256:
                raise BundleError(
                    f"[bundle {plan.bundle.path}] expected {file} of SHA-256 {files[file].sha256}; got "
                    f"{got}; copy the bundle again"
                )

    def shown(done: int, total: int) -> None:
        if progress is not None:
            progress(f"build {name}", done, total)

    compiled = Compiler(plan.library, graph).compile(
        plan.profiles[name], plan.recipe, timing_cache=cache, progress=shown
    )
    target = folder / engine_file(name)
    view = memoryview(compiled.engine)
    with target.open("wb") as stream:
        stream.write(view)
    component = Component(
        file=target.name,
        sha256=hash_file(target),
        bytes=target.stat().st_size,
        key=plan.keys[name],
        graph_sha256=graph_hash(files, name),
        profiles=plan.profiles[name],
        tensors=compiled.tensors,
        device_memory=compiled.device_memory,
        seconds=round(time.perf_counter() - start, 3),
    )
    shown(1000, 1000)
    del compiled, view
    _release_memory()
    return component


def _release_memory() -> None:
    """Gives freed memory back to the system, so that the next component finds it."""
    gc.collect()
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
