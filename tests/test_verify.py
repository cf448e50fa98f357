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

from edgepose.bundle import GRAPHS, Bundle, hash_file
from edgepose.errors import BundleError
from edgepose.verify import GraphResult, VerifyReport, verify_bundle


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


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not an archive", b"\x93NUMPY garbage"])
def test_goldens_that_cannot_be_read(bundle: Path, content: bytes) -> None:
    (bundle / "goldens.npz").write_bytes(content)
    rehash(bundle, "goldens.npz")
    with pytest.raises(BundleError, match=r"goldens\.npz"):
        verify_bundle(bundle)


def test_answers_that_are_no_numbers_fail_the_graph() -> None:
    failed = GraphResult("lm_head", float("inf"), 0.1, 1.0)
    report = VerifyReport("b", (failed,), "1.20")
    assert not report.passed and report.to_json()["graphs"][0]["max_error"] is None


def test_error_is_that_of_the_exporter() -> None:
    pytest.importorskip("torch")
    from edgepose import verify
    from edgepose.export.goldens import worst_row_error

    random = np.random.default_rng(0)
    for _ in range(10):
        a, b = random.standard_normal((2, 3, 4, 5)).astype(np.float32)
        assert verify._worst_row_error(a, b) == worst_row_error(a, b)
