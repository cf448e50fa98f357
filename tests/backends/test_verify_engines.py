# SPDX-License-Identifier: Apache-2.0
"""`edgepose verify --engines`: engines against PyTorch's stored answers; engines that give others."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgepose import Localizer
from edgepose.bundle import Bundle
from edgepose.cli import main
from edgepose.engine import EngineManifest
from edgepose.engine_component import Profile
from edgepose.engines.recipe import Shapes, load_recipe, recipe_names
from edgepose.errors import BackendUnavailableError, BundleError, EngineMismatchError
from edgepose.file_hash import hash_file
from edgepose.manifest import GRAPHS
from edgepose.verify import GraphResult, VerifyReport, fitting, verify_bundle

from .bundles import bundle_of
from .fake_tensorrt import write_engines

FAMILIES = ("posellm", "older", "taihri")

IDLE = "llm_decoder: profile suffix not run: it takes no stored case"
"""Of TAIHRI, whose questions add two tokens to the prompt: those of the goldens add four."""


def runs_of(report: VerifyReport, graph: str) -> list[tuple[str, str | None]]:
    return [(run.case, run.profile) for run in result_of(report, graph).runs]


def result_of(report: VerifyReport, graph: str) -> GraphResult:
    (found,) = (result for result in report.graphs if result.name == graph)
    return found


def rehash(folder: Path, name: str) -> None:
    """Makes the manifest of a bundle agree with a file that was changed."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"][name] = {"sha256": hash_file(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / "bundle.json").write_text(json.dumps(manifest))


def claim(directory: Path, of: EngineManifest) -> None:
    """Makes the sidecar of a directory say that its engines were made from the graphs of others."""
    manifest = EngineManifest.read(directory)
    components = {
        name: dataclasses.replace(component, graph_sha256=of.components[name].graph_sha256)
        for name, component in manifest.components.items()
    }
    dataclasses.replace(manifest, bundle=of.bundle, components=components).write(directory)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("on_gpu")
def test_engines_answer_as_pytorch_did(family: str, engines: Callable[[str], Path]) -> None:
    stages: list[str] = []
    report = verify_bundle(bundle_of(family), lambda stage, *_: stages.append(stage), engines=engines(family))
    assert report.passed and tuple(graph.name for graph in report.graphs) == GRAPHS
    assert report.runtime in ("tensorrt", "tensorrt_rtx") and report.runtime_version[0].isdigit()
    for graph in report.graphs:
        assert graph.tolerance == 5e-4 and not any(item.what.startswith("case") for item in graph.not_run)
    assert f"run {GRAPHS[-1]}" in stages and len(set(stages)) > len(GRAPHS)
    cases = {"prefix": "prefix", "suffix": "step", "decode": "draft"}
    assert set(cases.items()) <= set(runs_of(report, "llm_decoder"))
    assert {profile for _, profile in runs_of(report, "lm_head")} == {"step", "draft"}
    assert report.notes() == [IDLE] * (family == "taihri")


@pytest.mark.parametrize("recipe", recipe_names())
@pytest.mark.usefixtures("on_gpu")
def test_every_case_fits_the_profiles_of_every_recipe(recipe: str, tmp_path: Path) -> None:
    for family in FAMILIES:
        bundle = Bundle.open(bundle_of(family))
        write_engines(bundle, tmp_path / family, shapes=load_recipe(recipe).shapes)
        report = verify_bundle(bundle, engines=tmp_path / family)
        assert report.passed
        assert report.notes() == [IDLE] * (family == "taihri")


@pytest.mark.usefixtures("on_gpu")
def test_engines_of_an_exported_checkpoint_answer_as_pytorch_did(
    locllm_checkpoint: Path, tmp_path: Path
) -> None:
    from edgepose.export import export_bundle

    export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=tmp_path / "bundle", precision="fp16")
    write_engines(Bundle.open(tmp_path / "bundle"), tmp_path / "engines")
    report = verify_bundle(tmp_path / "bundle", engines=tmp_path / "engines")
    assert report.passed and report.notes() == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("on_gpu")
def test_fitting_a_profile_does_not_change_an_answer(family: str, engines: Callable[[str], Path]) -> None:
    """ONNX Runtime takes the goldens as they are: the same graphs are as far from PyTorch by both ways."""
    as_they_are = verify_bundle(bundle_of(family))
    fitted = verify_bundle(bundle_of(family), engines=engines(family))
    for one, other in zip(as_they_are.graphs, fitted.graphs, strict=True):
        assert other.max_error <= 3 * one.max_error + 1e-6 < 2e-5


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.usefixtures("on_gpu")
def test_an_engine_with_other_weights_fails(
    graph: str,
    build: Callable[[str | Path, Path], object],
    engines: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    bundle = Path(shutil.copytree(bundle_of("older"), tmp_path / "bundle"))
    weights = bundle / f"{graph}.onnx.data"
    values = np.frombuffer(weights.read_bytes(), np.float32).copy()
    values[: len(values) // 2] *= 1.25
    weights.write_bytes(values.tobytes())
    rehash(bundle, weights.name)
    build(bundle, tmp_path / "engines")
    claim(tmp_path / "engines", EngineManifest.read(engines("older")))
    report = verify_bundle(bundle_of("older"), engines=tmp_path / "engines")
    assert [result.name for result in report.graphs if not result.passed] == [graph]
    command = ["verify", bundle_of("older"), "--engines", str(tmp_path / "engines")]
    file = tmp_path / "report.json"
    result = CliRunner().invoke(main, [*command, "--json", str(file)])
    assert result.exit_code == 1 and "these engines do not reproduce the bundle" in result.output
    assert [line.split()[0] for line in result.output.splitlines() if line.endswith("FAIL")] == [graph]
    written = json.loads(file.read_text())
    assert written["passed"] is False and written["engines"] == str(tmp_path / "engines")


@pytest.mark.usefixtures("on_gpu")
def test_the_command_prints_a_table_or_json(engines: Callable[[str], Path], tmp_path: Path) -> None:
    command = ["verify", bundle_of("older"), "--engines", str(engines("older"))]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("all graphs pass (tensorrt")
    plain = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert plain["passed"] is True and plain["runtime"].startswith("tensorrt")
    assert {"case": "decode", "profile": "draft"}.items() <= plain["graphs"][2]["runs"][-1].items()
    result = CliRunner().invoke(main, [*command, "--json", str(tmp_path / "nowhere" / "report.json")])
    assert result.exit_code == 2 and "cannot be written" in result.output


@pytest.mark.usefixtures("on_gpu")
def test_masked_slots_are_what_makes_goldens_fit(
    engines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_MASKED", 0.0)
    report = verify_bundle(bundle_of("older"), engines=engines("older"))
    assert [result.name for result in report.graphs if not result.passed] == ["llm_decoder"]


@pytest.mark.usefixtures("on_gpu")
def test_more_rows_than_a_batch_are_run_in_several(tmp_path: Path) -> None:
    write_engines(
        Bundle.open(bundle_of("older")), tmp_path / "engines", shapes=Shapes(1, extra_tokens=0, questions=2)
    )
    report = verify_bundle(bundle_of("older"), engines=tmp_path / "engines")
    assert report.passed and ("decode", "step") in runs_of(report, "llm_decoder")


def narrowed(directory: Path, target: Path, graph: str, change: Callable[[Profile], Profile]) -> Path:
    """A copy of an engine directory with other profiles of one graph."""
    shutil.copytree(directory, target)
    manifest = EngineManifest.read(target)
    component = manifest.components[graph]
    profiles = tuple(change(profile) for profile in component.profiles)
    changed = dict(manifest.components) | {graph: dataclasses.replace(component, profiles=profiles)}
    dataclasses.replace(manifest, components=changed).write(target)
    return target


@pytest.mark.usefixtures("on_gpu")
def test_what_no_profile_takes_is_no_pass(engines: Callable[[str], Path], tmp_path: Path) -> None:
    def few_patches(profile: Profile) -> Profile:
        # 24 patches of the golden are too few, 48 are too many.
        counts = {point[0] for point in profile.shapes["patches"]}
        shapes = {
            name: tuple(tuple(30 if size in counts else size for size in point) for point in points)
            for name, points in profile.shapes.items()
        }
        return Profile(profile.name, shapes)

    other = narrowed(engines("taihri"), tmp_path / "engines", "vision_encoder", few_patches)
    report = verify_bundle(bundle_of("taihri"), engines=other)
    encoder = result_of(report, "vision_encoder")
    assert not report.passed and not encoder.passed and encoder.runs == ()
    assert [item.what for item in encoder.not_run] == ["case sample", "profile frame"]
    assert encoder.to_json()["max_error"] is None and "is (48, 192)" in report.notes()[0]
    result = CliRunner().invoke(main, ["verify", bundle_of("taihri"), "--engines", str(other)])
    assert result.exit_code == 1 and "NOT RUN" in result.output.splitlines()[1]


@pytest.mark.usefixtures("on_gpu")
def test_cases_behind_one_that_is_not_run_are_not_run(engines: Callable[[str], Path], tmp_path: Path) -> None:
    def short(profile: Profile) -> Profile:
        shapes = dict(profile.shapes)
        low, usual, high = shapes["embeddings"]
        shapes["embeddings"] = tuple(
            (rows, min(tokens, 9), width) for rows, tokens, width in (low, usual, high)
        )
        return Profile(profile.name, shapes)

    other = narrowed(engines("older"), tmp_path / "engines", "llm_decoder", short)
    report = verify_bundle(bundle_of("older"), engines=other)
    decoder = result_of(report, "llm_decoder")
    assert decoder.runs == () and not report.passed
    assert [item.reason for item in decoder.not_run][1:3] == ["it builds on case prefix"] * 2


@pytest.mark.usefixtures("on_gpu")
def test_engines_of_something_else_are_refused(engines: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(EngineMismatchError, match="bundle.family: expected posellm; got taihri"):
        verify_bundle(bundle_of("taihri"), engines=engines("older"))
    with pytest.raises(EngineMismatchError, match="no such directory"):
        verify_bundle(bundle_of("taihri"), engines=tmp_path / "nowhere")
    result = CliRunner().invoke(main, ["verify", bundle_of("taihri"), "--engines", str(engines("older"))])
    assert result.exit_code == 1 and "error: [engine" in result.output and "edgepose build" in result.output


@pytest.mark.usefixtures("on_gpu")
def test_every_engine_is_compared_with_its_hash(
    engines: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(engines("older"), tmp_path / "engines")
    engine = tmp_path / "engines" / "lm_head.engine"
    engine.write_bytes(engine.read_bytes()[:-1] + b"?")
    # As if they were too large to be hashed when the directory is opened.
    monkeypatch.setattr("edgepose.engine_files.HASHED_ON_OPEN", 0)
    with pytest.raises(EngineMismatchError, match=r"lm_head\.engine: expected SHA-256"):
        verify_bundle(bundle_of("older"), engines=tmp_path / "engines")


@pytest.mark.usefixtures("on_gpu")
def test_goldens_without_an_input_are_refused(engines: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundle_of("older"), tmp_path / "bundle"))
    with np.load(bundle / "goldens.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if name != "llm_decoder/suffix/input/cos"}
    np.savez(bundle / "goldens.npz", **arrays)  # type: ignore[arg-type]
    rehash(bundle, "goldens.npz")
    write_engines(Bundle.open(bundle), tmp_path / "engines")
    with pytest.raises(BundleError, match="llm_decoder did not run on its own: KeyError: 'cos'"):
        verify_bundle(bundle, engines=tmp_path / "engines")


def test_a_missing_library_is_named_as_for_a_localizer(
    engines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepose.tensorrt_library import load_library

    said = []
    for run in (Localizer, verify_bundle):
        load_library.cache_clear()
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(BackendUnavailableError, match="python3-libnvinfer") as missing:
            run(bundle_of("older"), engines=engines("older"))
        said.append(str(missing.value))
    load_library.cache_clear()
    assert said[0] == said[1]


def test_importing_loads_no_library() -> None:
    script = "import sys, edgepose.verify; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"tensorrt", "tensorrt_rtx", "onnxruntime", "cuda", "edgepose.backends.tensorrt"}
