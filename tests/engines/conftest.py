# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the engine tests: small bundles of random weights, and NVIDIA's compiler that needs no GPU.

`tensorrt-rtx` has wheels for x86_64; it is among the tests' requirements there, so its absence is a failure
and no reason to skip.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import onnx

from edgepose.bundle import describe_files, read_manifest, write_manifest
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.engines.recipe import Recipe, load_recipe
from edgepose.tensorrt_library import Library, load_library

FAMILIES = ("locllm", "posellm", "taihri")


@pytest.fixture(scope="session")
def library() -> Library:
    """TensorRT-RTX."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"NVIDIA has no tensorrt-rtx wheels for {platform.machine()}")
    return load_library("tensorrt_rtx")


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return load_recipe("rtx-ci")


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str, str], Path]:
    """Exports the small random checkpoint of a family once for each precision."""
    import edgepose
    from edgepose.examples import ImageExamples
    from edgepose.export import export_bundle

    photograph = Path(edgepose.__file__).parent / "assets" / "person.jpg"
    folder = tmp_path_factory.mktemp("bundles")

    def export(family: str, precision: str) -> Path:
        out = folder / f"{family}-{precision}"
        if not out.is_dir():
            checkpoint: Path = request.getfixturevalue(f"{family}_checkpoint")
            examples = ImageExamples([photograph]) if precision.startswith("int8") else None
            export_bundle(
                family=family, checkpoint=checkpoint, out=out, precision=precision, calibration=examples
            )
        return out

    return export


@pytest.fixture
def copied(exported: Callable[[str, str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a bundle in the test's own folder, for changing it."""

    def copy(family: str = "posellm", precision: str = "fp16") -> Path:
        return Path(shutil.copytree(exported(family, precision), tmp_path / "bundle"))

    return copy


@pytest.fixture
def changed_graph(tmp_path: Path) -> Callable[..., OnnxGraph]:
    """A graph of a bundle, in a folder of its own, after a function has changed it."""

    def change(bundle: Path, name: str, edit: Callable[[Any], object]) -> OnnxGraph:
        for file in bundle.glob(f"{name}.onnx*"):
            shutil.copyfile(file, tmp_path / file.name)
        rewrite_graph(tmp_path / f"{name}.onnx", edit)
        return OnnxGraph(tmp_path / f"{name}.onnx")

    return change


def rewrite_graph(file: Path, edit: Callable[[Any], object]) -> None:
    """Changes an ONNX file in its place."""
    model = onnx.load(str(file), load_external_data=False)
    edit(model.graph)
    file.write_bytes(model.SerializeToString())


@pytest.fixture
def edit_bundle() -> Callable[..., None]:
    """Changes a graph inside a bundle, and the hashes in the manifest with it."""

    def edit(bundle: Path, name: str, change: Callable[[Any], object]) -> None:
        rewrite_graph(bundle / f"{name}.onnx", change)
        restate(bundle)

    return edit


def restate(bundle: Path) -> None:
    """Writes the manifest anew for the files that are there."""
    import dataclasses

    manifest = read_manifest(bundle)
    write_manifest(bundle, dataclasses.replace(manifest, files=describe_files(bundle)))


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[dict[str, Any]], object]], None]:
    """Changes a JSON file in its place."""

    def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
        value = json.loads(file.read_text(encoding="utf-8"))
        change(value)
        file.write_text(json.dumps(value), encoding="utf-8")

    return edit
