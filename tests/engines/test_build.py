# SPDX-License-Identifier: Apache-2.0
"""Whole bundles through NVIDIA's compiler, on a machine that needs no GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.bundle import GRAPHS, Bundle
from edgepose.engine import EngineManifest
from edgepose.engines import BuildReport, build_engines
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.errors import (
    BackendError,
    BackendUnavailableError,
    BundleError,
    EngineMismatchError,
    InvalidInputError,
)
from edgepose.file_hash import hash_file
from edgepose.tensorrt_library import Library

from .conftest import FAMILIES


@pytest.fixture(scope="module")
def own_recipe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A recipe that inherits rtx-ci."""
    folder = tmp_path_factory.mktemp("recipes")

    def write(text: str, name: str = "own") -> Path:
        file = folder / f"{name}.toml"
        file.write_text(f'inherits = "rtx-ci"\n{text}', encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="module")
def built(
    library: Library, exported: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, BuildReport]:
    """Bundle, engines and report of one build; not to be changed."""
    bundle = exported("posellm", "fp16")
    out = tmp_path_factory.mktemp("engines") / "engines"
    return bundle, out, build_engines(bundle, "rtx-ci", out=out)


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {file.name: (hash_file(file), file.stat().st_mtime_ns) for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("family", "precision"),
    [*((family, name) for family in FAMILIES for name in ("fp16", "int4-fp16")), ("posellm", "int8-fp16")],
)
def test_every_family_compiles(
    library: Library, exported: Callable[[str, str], Path], tmp_path: Path, family: str, precision: str
) -> None:
    report = build_engines(exported(family, precision), "rtx-ci", out=tmp_path / "engines")
    assert report.status == "built" and {part.status for part in report.components.values()} == {"built"}
    expect_engines(Bundle.open(exported(family, precision)), tmp_path / "engines", "8.6")
    for name, estimate in report.estimates.items():
        assert report.components[name].device_memory <= estimate.activations, name


@pytest.mark.parametrize(("family", "precision"), [("locllm", "int4-fp16")])
def test_another_card(
    library: Library,
    exported: Callable[[str, str], Path],
    own_recipe: Callable[..., Path],
    tmp_path: Path,
    family: str,
    precision: str,
) -> None:
    recipe = own_recipe('[target]\ncompute_capability = "8.9"\n', "ada")
    build_engines(exported(family, precision), recipe, out=tmp_path / "engines")
    expect_engines(Bundle.open(exported(family, precision)), tmp_path / "engines", "8.9")


def expect_engines(bundle: Bundle, out: Path, capability: str) -> None:
    manifest = EngineManifest.read(out)
    manifest.check_hashes(out)
    manifest.check(None, bundle)
    assert set(manifest.components) == set(GRAPHS)
    assert manifest.platform.compute_capability == capability and manifest.platform.device is None
    assert manifest.platform.runtime == "tensorrt_rtx" and manifest.bundle.family == bundle.manifest.family
    for name, part in manifest.components.items():
        graph = OnnxGraph(bundle.graph(name))
        inputs = {tensor.name: tensor for tensor in part.tensors if tensor.mode == "input"}
        assert {item.name: item.dtype for item in graph.inputs} == {n: t.dtype for n, t in inputs.items()}
        assert [tensor.name for tensor in part.tensors if tensor.mode == "output"] == list(graph.outputs)
        assert part.device_memory > 0 and part.seconds > 0
        # An engine holds its weights; a header of nothing would be smaller.
        assert part.bytes > 0.9 * (graph.bytes - bundle.graph(name).stat().st_size)
        for profile in part.profiles:
            assert set(profile.shapes) == set(inputs)


def test_sidecar_says_where_it_belongs(built: tuple[Path, Path, BuildReport]) -> None:
    bundle, out, report = built
    manifest = EngineManifest.read(out)
    assert manifest.bundle.sha256 == hash_file(bundle / "bundle.json")
    assert (manifest.recipe.name, manifest.bundle.precision) == ("rtx-ci", "fp16")
    assert manifest.recipe.numbers["build"]["optimization"] == 3  # type: ignore[index]
    assert EngineManifest.read(out) == manifest and json.dumps(manifest.to_json())
    assert manifest.components["llm_decoder"].profile("draft") == 3
    with pytest.raises(KeyError):
        manifest.components["llm_decoder"].profile("other")
    step = manifest.components["llm_decoder"].profiles[2]
    fitting = {name: shapes[1] for name, shapes in step.shapes.items()}
    assert step.refusals(fitting) == []
    assert step.refusals({**fitting, "cos": (17, 9, 32)}) == [
        f"cos is (17, 9, 32), profile step takes {step.shapes['cos'][0]} to {step.shapes['cos'][2]}"
    ]
    assert report.build_memory > 0 and report.components["llm_decoder"].peak_rss > 1 << 26


def test_nothing_changed_takes_a_second(
    built: tuple[Path, Path, BuildReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, out, _ = built
    before = contents(out)
    monkeypatch.setattr("edgepose.engines.build.Compiler", None)  # nothing is even parsed
    report = build_engines(bundle, "rtx-ci", out=out)
    assert report.status == "up to date" and report.seconds < 5
    assert {part.status for part in report.components.values()} == {"kept"}
    assert contents(out) == before


def test_only_what_changed_is_built(
    built: tuple[Path, Path, BuildReport],
    copied: Callable[..., Path],
    edit_bundle: Callable[..., None],
    tmp_path: Path,
    own_recipe: Callable[..., Path],
) -> None:
    import shutil

    _, first, _ = built
    bundle, out = copied(), tmp_path / "engines"
    shutil.copytree(first, out)
    before = contents(out)

    def double(graph: Any) -> None:
        graph.node[0].name = "renamed"

    edit_bundle(bundle, "connector", double)
    report = build_engines(bundle, "rtx-ci", out=out)
    assert {name: part.status for name, part in report.components.items()} == {
        **dict.fromkeys(GRAPHS, "kept"),
        "connector": "built",
    }
    after = contents(out)
    assert {name for name in after if after[name][0] != before[name][0]} <= {
        "connector.engine",
        "engine.json",
    }
    EngineManifest.read(out).check(None, Bundle.open(bundle))
    # Other heads alone follow from another count of questions, beside the decoder.
    few = build_engines(bundle, own_recipe("[shapes]\nquestions = 2\n", "few"), out=out)
    assert few.components["vision_encoder"].status == "kept" and few.components["lm_head"].status == "built"
    assert EngineManifest.read(out).recipe.name == "few"


def test_damaged_engine_is_built_anew(built: tuple[Path, Path, BuildReport], tmp_path: Path) -> None:
    import shutil

    bundle, first, _ = built
    out = tmp_path / "engines"
    shutil.copytree(first, out)
    (out / "lm_head.engine").write_bytes((out / "lm_head.engine").read_bytes()[:-1])
    with pytest.raises(EngineMismatchError, match="truncated"):
        EngineManifest.read(out)
    report = build_engines(bundle, "rtx-ci", out=out)
    assert {name for name, part in report.components.items() if part.status == "built"} == {"lm_head"}
    EngineManifest.read(out)


def test_check_compiles_and_writes_nothing(
    library: Library, exported: Callable[[str, str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "engines"
    report = build_engines(exported("taihri", "int4-fp16"), "rtx-ci", out=out, check=True)
    assert report.status == "checked" and not out.exists() and list(tmp_path.iterdir()) == []
    assert report.run_memory > report.estimates["llm_decoder"].activations > 0


def test_failure_leaves_the_old_engines(
    built: tuple[Path, Path, BuildReport],
    copied: Callable[..., Path],
    edit_bundle: Callable[..., None],
    tmp_path: Path,
) -> None:
    import shutil

    bundle, out = copied(), tmp_path / "engines"
    shutil.copytree(built[1], out)
    before = contents(out)

    def mixed(graph: Any) -> None:
        from onnx import numpy_helper

        for tensor in graph.initializer:
            if tensor.name == "constant.0":
                tensor.CopyFrom(numpy_helper.from_array(np.array(1.0, np.float32), tensor.name))

    edit_bundle(bundle, "connector", mixed)
    with pytest.raises(BackendError, match="gelu.Div"):
        build_engines(bundle, "rtx-ci", out=out)

    def unknown(graph: Any) -> None:
        graph.node[0].op_type = "Bessel"

    edit_bundle(bundle, "connector", unknown)
    with pytest.raises(BundleError, match=r"TensorRT 10.3 .JetPack 6. takes; got 1 problem"):
        build_engines(bundle, "rtx-ci", out=out)
    assert contents(out) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bundle", "engines"]


def test_interruption_leaves_the_old_engines(
    built: tuple[Path, Path, BuildReport], own_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    import shutil

    out = tmp_path / "engines"
    shutil.copytree(built[1], out)
    before = contents(out)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "build vision_encoder":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engines(built[0], own_recipe("[build]\noptimization = 2\n", "faster"), out=out, progress=stop)
    assert contents(out) == before and list(tmp_path.iterdir()) == [out]


def test_too_little_memory(
    library: Library, exported: Callable[[str, str], Path], own_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = exported("locllm", "fp16")
    with pytest.raises(BackendError) as caught:
        build_engines(bundle, "rtx-ci", out=tmp_path / "engines", free=300 << 20)
    for part in ("of free memory to build", "got 300 MiB", "close other programs", "--precision int4-fp16"):
        assert part in str(caught.value)
    small = own_recipe("[target]\nmemory_gib = 0.1\n", "small")
    with pytest.raises(
        BackendError, match="in the 102 MiB of recipe small; got .*weights .*caches .*activations"
    ):
        build_engines(bundle, small, out=tmp_path / "engines", check=True)
    assert list(tmp_path.iterdir()) == []


def test_damaged_or_newer_bundle(
    library: Library, copied: Callable[..., Path], edit_json: Callable[..., None], tmp_path: Path
) -> None:
    bundle = copied()
    (bundle / "connector.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"connector.onnx: expected \d+ bytes; got 8"):
        build_engines(bundle, "rtx-ci", out=tmp_path / "engines")
    edit_json(bundle / "bundle.json", lambda value: value.update(format_version=99))
    with pytest.raises(BundleError, match="got version 99.*upgrade edgepose"):
        build_engines(bundle, "rtx-ci", out=tmp_path / "engines")
    assert not (tmp_path / "engines").exists()


def test_wrong_precision_or_place(
    library: Library, exported: Callable[[str, str], Path], own_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    wants = own_recipe('[bundle]\nprecisions = ["int4-fp16", "fp16"]\n', "wants")
    with pytest.raises(
        BundleError, match="precision int4-fp16 or fp16, .*; got fp32; export it with --precision"
    ):
        build_engines(exported("posellm", "fp32"), wants, out=tmp_path / "engines")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "cat.jpg").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="expected an engine directory to replace"):
        build_engines(exported("posellm", "fp16"), "rtx-ci", out=tmp_path / "photographs")


def test_runtime_or_card_not_here(
    library: Library, exported: Callable[[str, str], Path], own_recipe: Callable[..., Path]
) -> None:
    bundle = exported("posellm", "fp16")
    with pytest.raises(EngineMismatchError, match="SM75, SM80, SM86, SM89; got SM87|SM86.*got SM87"):
        build_engines(bundle, own_recipe('[target]\ncompute_capability = "8.7"\n', "sm87"), check=True)
    with pytest.raises(
        (BackendUnavailableError, EngineMismatchError), match="python3-libnvinfer|needs|expected a GPU"
    ):
        build_engines(bundle, "orin-nano-8gb")


@pytest.mark.parametrize("name", ["orin-agx-64gb", "orin-nano-8gb"])
def test_recipe_of_a_board_is_checked_away_from_it(
    library: Library, exported: Callable[[str, str], Path], tmp_path: Path, name: str
) -> None:
    report = build_engines(exported("taihri", "int4-fp16"), name, out=tmp_path / "engines", check=True)
    assert report.status == "checked" and report.platform.runtime == "tensorrt"
    assert report.compiler == f"tensorrt_rtx {library.version}" and list(tmp_path.iterdir()) == []


def test_timing_cache(
    library: Library,
    exported: Callable[[str, str], Path],
    own_recipe: Callable[..., Path],
    tmp_path: Path,
) -> None:
    cache, bundle = tmp_path / "cache", exported("locllm", "fp16")
    build_engines(bundle, "rtx-ci", out=tmp_path / "a", timing_cache=cache)
    kept = cache.read_bytes()
    assert json.loads(kept.partition(b"\n")[0])["compute_capability"] == "8.6"
    ada = own_recipe('[target]\ncompute_capability = "8.9"\n', "ada")
    with pytest.raises(
        EngineMismatchError, match=r"compute_capability: expected 8.9 \(this machine\); got 8.6"
    ):
        build_engines(bundle, ada, out=tmp_path / "b", timing_cache=cache)
    assert cache.read_bytes() == kept and not (tmp_path / "b").exists()
