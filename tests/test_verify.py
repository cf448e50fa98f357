# SPDX-License-Identifier: Apache-2.0
"""Verifying a bundle: machines that agree, graphs that do not, goldens that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.bundle import GRAPHS, Bundle
from edgepose.errors import BackendError, BundleError
from edgepose.file_hash import hash_file
from edgepose.verify import CaseRun, GraphResult, NotRun, VerifyReport, verify_bundle


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, locllm_checkpoint: Path) -> Path:
    from edgepose.export import export_bundle

    out = tmp_path_factory.mktemp("verify") / "bundle"
    export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=out, precision="int4")
    return out


@pytest.fixture
def bundle(tmp_path: Path, exported: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


def rehash(folder: Path, name: str) -> None:
    """Makes the manifest agree with a file that was changed."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"][name] = {"sha256": hash_file(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / "bundle.json").write_text(json.dumps(manifest))


def change_goldens(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with np.load(folder / "goldens.npz") as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(folder / "goldens.npz", **arrays)
    rehash(folder, "goldens.npz")


def test_passes(exported: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    report = verify_bundle(exported, lambda *call: stages.append(call))
    assert report.passed and tuple(graph.name for graph in report.graphs) == GRAPHS
    assert all(0 <= graph.max_error <= graph.tolerance and graph.seconds > 0 for graph in report.graphs)
    assert ("run lm_head", 4, 5) in stages and "check files" in {stage for stage, _, _ in stages}
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["passed"] is True and len(plain["graphs"]) == 5
    assert plain["runtime"] == "onnxruntime" and plain["runtime_version"] and plain["engines"] is None
    cases = [run["case"] for run in plain["graphs"][2]["runs"]]
    assert cases == ["prefix", "suffix", "decode"] and report.notes() == []
    assert verify_bundle(Bundle.open(exported)).passed


def test_graphs_of_any_architecture_run_by_the_names_of_their_inputs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgepose.export import export_bundle
    from edgepose.export.random_checkpoint import write_random_checkpoint

    checkpoint = write_random_checkpoint(tmp_path / "checkpoint", family="taihri")
    export_bundle(family="taihri", checkpoint=checkpoint, out=tmp_path / "bundle")
    assert verify_bundle(tmp_path / "bundle").passed

    def drop_image_features(arrays: dict[str, Any]) -> None:
        arrays["llm_decoder/prefix/input/deepstack.0"][:] = 0

    change_goldens(tmp_path / "bundle", drop_image_features)
    report = verify_bundle(tmp_path / "bundle")
    assert [result.name for result in report.graphs if not result.passed] == ["llm_decoder"]


@pytest.mark.parametrize("graph", ["vision_encoder", "llm_decoder", "answer_head"])
def test_a_changed_weight_is_reported(bundle: Path, graph: str) -> None:
    file = bundle / f"{graph}.onnx.data"
    data = bytearray(file.read_bytes())
    data[: len(data) // 2] = bytes(value ^ 0x11 for value in data[: len(data) // 2])
    file.write_bytes(data)
    with pytest.raises(BundleError, match=rf"{graph}\.onnx\.data: expected SHA-256"):
        verify_bundle(bundle)
    rehash(bundle, file.name)
    report = verify_bundle(bundle)
    assert [result.name for result in report.graphs if not result.passed] == [graph]
    assert not report.passed


def drop_graph(arrays: dict[str, Any]) -> None:
    for name in [name for name in arrays if name.startswith("connector/")]:
        del arrays[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_graph, "none for connector"),
        (lambda arrays: arrays.update({"nonsense": np.zeros(1)}), "cannot be read"),
        (lambda arrays: arrays.update({"other/sample/input/x": np.zeros(1)}), "cannot be read: KeyError"),
        (lambda arrays: arrays.pop("llm_decoder/suffix/input/cos"), "llm_decoder did not run"),
        (lambda arrays: arrays.update({"lm_head/sample/output/logits": np.zeros(3)}), "golden of shape"),
        (lambda arrays: arrays.update({"lm_head/sample/output/none": np.zeros(3)}), "lm_head did not run"),
        (
            lambda arrays: arrays.update({"llm_decoder/decode/input/bias": np.zeros((3, 2, 4), np.float32)}),
            "llm_decoder did not run",
        ),
    ],
)
def test_goldens_that_do_not_fit(
    bundle: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_goldens(bundle, change)
    with pytest.raises(BundleError, match=message):
        verify_bundle(bundle)


def test_a_graph_that_is_newer_than_onnxruntime(bundle: Path) -> None:
    onnx = pytest.importorskip("onnx")
    file = bundle / "lm_head.onnx"
    model = onnx.load(file, load_external_data=False)
    model.opset_import[0].version = 999
    file.write_bytes(model.SerializeToString())
    rehash(bundle, file.name)
    with pytest.raises(BackendError, match=r"(?s)ONNX Runtime \d.* to load lm_head.*--upgrade onnxruntime"):
        verify_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not an archive", b"\x93NUMPY garbage"])
def test_goldens_that_cannot_be_read(bundle: Path, content: bytes) -> None:
    (bundle / "goldens.npz").write_bytes(content)
    rehash(bundle, "goldens.npz")
    with pytest.raises(BundleError, match=r"goldens\.npz"):
        verify_bundle(bundle)


def test_answers_that_are_no_numbers_fail_the_graph() -> None:
    failed = GraphResult("lm_head", 0.1, 1.0, (CaseRun("sample", None, float("inf")),))
    report = VerifyReport("b", "onnxruntime", "1.20", (failed,))
    assert not report.passed
    (written,) = report.to_json()["graphs"]
    assert written["max_error"] is None and written["runs"][0]["error"] is None


def test_a_graph_of_which_nothing_was_run_does_not_pass() -> None:
    missed = GraphResult("lm_head", float("inf"), 0.0, (), (NotRun("case sample", "too short"),))
    report = VerifyReport("b", "onnxruntime", "1.20", (missed,))
    assert not report.passed and report.notes() == ["lm_head: case sample not run: too short"]
    assert report.to_json()["graphs"][0]["not_run"] == [{"what": "case sample", "reason": "too short"}]


def test_error_is_that_of_the_exporter() -> None:
    pytest.importorskip("torch")
    from edgepose import verify
    from edgepose.export.goldens import worst_row_error

    random = np.random.default_rng(0)
    for _ in range(10):
        a, b = random.standard_normal((2, 3, 4, 5)).astype(np.float32)
        assert verify.worst_row_error(a, b) == worst_row_error(a, b)


@pytest.mark.parametrize("precision", ["fp16", "int4-fp16"])
def test_float16_in_every_node_is_far_within_its_tolerance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Engines round each value to the type that the graph says; ONNX Runtime leaves out some roundings."""
    pytest.importorskip("torch")
    import onnxruntime

    from edgepose.export import export_bundle
    from edgepose.verify import sessions

    checkpoint = Path(__file__).parents[1] / "training" / "checkpoints" / "posellm-nano"
    export_bundle(family="posellm", checkpoint=checkpoint, out=tmp_path / "bundle", precision=precision)

    def open_unchanged(bundle: Bundle, graph: str) -> Any:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(
            str(bundle.graph(graph)), options, providers=["CPUExecutionProvider"]
        )

    monkeypatch.setattr(sessions, "_open_session", open_unchanged)
    report = verify_bundle(tmp_path / "bundle")
    assert all(graph.tolerance == 3e-2 for graph in report.graphs)
    # More than float32 allows: a bundle in float32 must not be computed like this.
    assert 5e-4 < max(graph.max_error for graph in report.graphs) < 2e-3


@pytest.mark.parametrize(("terms", "error"), [(4096, 3.5e-3), (11008, 5.3e-3)])
def test_sums_in_float16_take_a_good_part_of_the_tolerance(terms: int, error: float) -> None:
    """What a kernel does to one product that adds up in float16, 16 terms at a time."""
    from edgepose.verify import worst_row_error

    random = np.random.default_rng(0)
    left = random.standard_normal((64, terms)).astype(np.float16).astype(np.float32)
    right = (random.standard_normal((terms, 64)) / np.sqrt(terms)).astype(np.float16).astype(np.float32)
    total = np.zeros((64, 64), np.float16)
    for start in range(0, terms, 16):
        part = left[:, start : start + 16] @ right[start : start + 16]
        total = (total.astype(np.float32) + part).astype(np.float16)
    exact = left.astype(np.float64) @ right.astype(np.float64)
    assert worst_row_error(total, exact) == pytest.approx(error, rel=0.2)
