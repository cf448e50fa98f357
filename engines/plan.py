# SPDX-License-Identifier: Apache-2.0
"""What a build is made from and would make, before anything is compiled: runtime, graphs, profiles, keys.

Compiling, memory and files do not belong here: see `edgepose.engines.build`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgepose.bundle import Bundle
from edgepose.engine_check import Platform
from edgepose.engine_component import Profile, graph_hash
from edgepose.engines.lengths import Lengths, measure_lengths
from edgepose.engines.machine import elsewhere, find_gpu, platform_for
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.engines.parser_limits import parser_problems
from edgepose.engines.profiles import derive_profiles
from edgepose.engines.recipe import Recipe
from edgepose.errors import BackendUnavailableError, BundleError
from edgepose.records import write_value
from edgepose.tensorrt_library import Library, load_library

__all__ = ["BuildPlan", "plan_build"]

_KEY_FORMAT = 2
"""Raised where the same graph, recipe and runtime would give other engines."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What is to be built, before anything is compiled."""

    bundle: Bundle
    recipe: Recipe
    library: Library
    platform: Platform
    lengths: Lengths
    graphs: Mapping[str, OnnxGraph]
    """In the order in which they are built."""
    profiles: Mapping[str, tuple[Profile, ...]]
    keys: Mapping[str, str]
    """By graph: SHA-256 over everything that its engine depends on."""


def plan_build(bundle: Bundle, recipe: Recipe, *, check: bool) -> BuildPlan:
    """Finds runtime and GPU, reads the graphs and derives their profiles; nothing is parsed by the runtime.

    Args:
        bundle: to build engines of.
        recipe: to build them by.
        check: nothing is going to be compiled, so another runtime's parser may stand in.

    Raises:
        BundleError: the bundle is of another precision than the recipe wants, or has a graph that TensorRT
            10.3 would not parse.
        BackendUnavailableError: the recipe's runtime is not installed, or needs a GPU that is not here.
        EngineMismatchError: the GPU is not the recipe's.
    """
    precision = bundle.manifest.precision.name
    wanted = recipe.bundle.precisions
    if wanted and precision not in wanted:
        raise BundleError(
            f"[build {bundle.path}] expected a bundle of precision {' or '.join(wanted)}, as recipe "
            f"{recipe.name} wants; got {precision}; export it with --precision {wanted[0]}"
        )
    library, platform = _open(recipe, check=check)
    graphs = {name: OnnxGraph(bundle.graph(name)) for name in recipe.build.order}
    _refuse_unparseable(graphs)
    lengths = measure_lengths(bundle, recipe.shapes)
    profiles = {
        name: derive_profiles(graph, bundle.manifest, lengths, recipe.shapes)
        for name, graph in graphs.items()
    }
    keys = {name: _key(name, bundle, recipe, platform, profiles[name]) for name in graphs}
    return BuildPlan(bundle, recipe, library, platform, lengths, graphs, profiles, keys)


def _open(recipe: Recipe, *, check: bool) -> tuple[Library, Platform]:
    """The recipe's runtime; TensorRT-RTX, whose parser is alike, for a check away from the board."""
    try:
        library = load_library(recipe.target.runtime)
        return library, platform_for(library, recipe, find_gpu())
    except BackendUnavailableError as error:
        if not check or recipe.target.runtime == "tensorrt_rtx":
            raise
        try:
            library = load_library("tensorrt_rtx")
        except BackendUnavailableError:
            raise error from None
        return library, elsewhere(recipe)


def _refuse_unparseable(graphs: Mapping[str, OnnxGraph]) -> None:
    problems = []
    for name, graph in graphs.items():
        try:
            problems += [f"{name}: {line}" for line in parser_problems(graph)]
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        listed = "".join(f"\n  - {line}" for line in problems[:20])
        raise BundleError(
            f"[build] expected graphs within what the ONNX parser of TensorRT 10.3 (JetPack 6) takes; got "
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''}:{listed}\nexport the bundle again "
            "with this edgepose"
        )


def _key(
    graph: str, bundle: Bundle, recipe: Recipe, platform: Platform, profiles: tuple[Profile, ...]
) -> str:
    build = recipe.numbers()["build"]
    del build["order"]
    where = {
        name: getattr(platform, name)
        for name in ("runtime", "runtime_version", "compute_capability", "os", "arch")
    }
    parts = {
        "format": _KEY_FORMAT,
        "graph": graph_hash(bundle.manifest.files, graph),
        "profiles": write_value(profiles),
        "build": build,
        "platform": where,
        "device": None if platform.device is None else write_value(platform.device),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
