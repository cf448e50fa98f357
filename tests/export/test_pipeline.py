# SPDX-License-Identifier: Apache-2.0
"""Exporting small checkpoints of random weights to bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepose.bundle import GRAPHS, PRECISIONS, Bundle
from edgepose.errors import EdgePoseError, InvalidInputError
from edgepose.export import export_bundle, pipeline
from edgepose.export.architectures import DINOV2_LLAMA
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.tokenizer import load_tokenizer
from edgepose.export.weights import ModelWeights
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.keypoints import COCO17
from edgepose.verify import verify_bundle


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        ("locllm", "fp32"),
        ("locllm", "int4"),
        ("posellm", "int4-fp16"),
        ("posellm", "fp16"),
        ("posellm", "int4-half"),
    ],
)
def test_export(tmp_path: Path, request: pytest.FixtureRequest, family: str, precision: str) -> None:
    checkpoint: Path = request.getfixturevalue(f"{family}_checkpoint")
    stages: dict[str, list[tuple[int, int]]] = {}
    report = export_bundle(
        family=family,
        checkpoint=checkpoint,
        out=tmp_path / "bundle",
        precision=precision,
        progress=lambda stage, done, total: stages.setdefault(stage, []).append((done, total)),
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]

    bundle = Bundle.open(tmp_path / "bundle")
    bundle.check_hashes()
    manifest, spec = bundle.manifest, PRECISIONS[precision]
    assert (manifest.family, manifest.precision) == (family, spec)
    assert {name: entry.bytes for name, entry in manifest.files.items()} == report.files
    assert set(report.files) | {"bundle.json"} == {file.name for file in bundle.path.iterdir()}

    tokenizer = load_tokenizer(checkpoint)
    codec = manifest.codec
    assert (codec.open, codec.end, codec.pad) == (tokenizer.require("▁["), tokenizer.end, tokenizer.pad)
    assert codec.digits[3] == tokenizer.require("3") and codec.zero == codec.digits[0]
    words = [tokenizer.require(word) for word in ("▁[", ".", ",", "]", *"0123456789")]
    assert manifest.answer_head == tuple(sorted({*words, tokenizer.end}))

    weights = ModelWeights(open_checkpoint(checkpoint), DINOV2_LLAMA)
    table = weights["decoder.embed_tokens.weight"].numpy().astype(spec.activations)
    np.testing.assert_array_equal(bundle.embeddings, table)
    assert manifest.decoder.vocabulary == len(table)
    assert manifest.keypoints.default == "coco17" and manifest.keypoints.source == "edgepose"
    assert manifest.keypoints.texts["nose"].description == DEFAULT_TEXTS["nose"].description
    assert manifest.prompt.format == "keypoint"
    assert manifest.prompt.suffix.startswith(" Keypoint" if tokenizer.legacy else "Keypoint")
    assert manifest.provenance["legacy_tokenizer"] == tokenizer.legacy
    assert manifest.provenance["adapters_merged_into"] == len(weights.merged) > 0
    assert ("quantization" in manifest.provenance) == (spec.weights == "int4")

    assert tuple(report.parity) == GRAPHS and manifest.parity == report.parity
    assert report.kept_whole == () and report.seconds > 0 and report.peak_rss_bytes > 1 << 20
    assert json.loads(json.dumps(report.to_json()))["bundle"] == str(bundle.path)
    assert {"write vision_encoder", "write llm_decoder", "compare with PyTorch"} < stages.keys()
    for calls in stages.values():
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)
        assert calls[-1][0] == calls[-1][1]

    verified = verify_bundle(bundle)
    assert verified.passed and tuple(graph.name for graph in verified.graphs) == GRAPHS


def test_the_same_checkpoint_makes_the_same_bundle(tmp_path: Path, locllm_checkpoint: Path) -> None:
    manifests = []
    for name in ("one", "two"):
        export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=tmp_path / name, precision="int4")
        manifests.append(json.loads((tmp_path / name / "bundle.json").read_text()))
    graphs = [{name: spec for name, spec in m["files"].items() if name != "goldens.npz"} for m in manifests]
    assert graphs[0] == graphs[1]


def test_keypoint_texts_and_prompt_format(tmp_path: Path, locllm_checkpoint: Path) -> None:
    texts = {name: {"description": f"The {name}.", "questions": [f"{name}?"]} for name in COCO17.keypoints}
    file = tmp_path / "texts.json"
    file.write_text(json.dumps({"keypoints": texts}))
    options: dict[str, Any] = {
        "family": "locllm",
        "checkpoint": locllm_checkpoint,
        "out": tmp_path / "bundle",
        "keypoint_texts": file,
    }
    export_bundle(**options, prompt_format="llama2")
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert manifest.prompt.format == "llama2" and "{question}" in manifest.prompt.suffix
    assert manifest.keypoints.source == "texts.json"
    assert manifest.keypoints.texts["left knee"].question == "left knee?"

    del texts["left knee"]
    file.write_text(json.dumps({"keypoints": texts}))
    with pytest.raises(InvalidInputError, match=r"every keypoint of coco17.*left knee"):
        export_bundle(**options, force=True)
    assert "left knee" in Bundle.open(tmp_path / "bundle").manifest.keypoints.texts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "int2"}, r"precision out of fp32, .*, fp32-half, int4-half, int8-half; got 'int2'"),
        ({"family": "vitpose"}, r"one of .*; got 'vitpose'"),
        ({"family": "posellm"}, r"expected a posellm checkpoint.*pass --family locllm"),
        ({"prompt_format": "chatml"}, r"got 'chatml'"),
        ({"answer": "4d"}, r"2d or 3d; got '4d'"),
        ({"family": "posellm", "answer": "3d"}, r"posellm was published with, 2d; got '3d'"),
        ({"checkpoint": "nowhere"}, r"expected a directory.*nowhere"),
    ],
)
def test_bad_arguments(tmp_path: Path, locllm_checkpoint: Path, change: dict[str, str], message: str) -> None:
    options: dict[str, Any] = {"family": "locllm", "checkpoint": locllm_checkpoint, "out": tmp_path / "b"}
    with pytest.raises(InvalidInputError, match=message):
        export_bundle(**{**options, **change})
    assert list(tmp_path.iterdir()) == []


def test_out_must_not_be_the_checkpoint(locllm_checkpoint: Path) -> None:
    before = sorted(file.name for file in locllm_checkpoint.iterdir())
    for out in (locllm_checkpoint, locllm_checkpoint.parent):
        with pytest.raises(InvalidInputError, match="apart from the checkpoint"):
            export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=out, force=True)
    assert sorted(file.name for file in locllm_checkpoint.iterdir()) == before


@pytest.mark.parametrize("step", ["write_llm_decoder", "write_manifest"])
def test_a_failure_leaves_nothing(
    tmp_path: Path, locllm_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pipeline, step, fail)
    with pytest.raises(OSError, match="no space"):
        export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_wrong_is_not_shipped(
    tmp_path: Path, locllm_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.write_head

    def wrong(path: Path, weight: torch.Tensor, *rest: Any, **named: Any) -> None:
        real(path, weight.roll(1, 0), *rest, **named)

    monkeypatch.setattr(pipeline, "write_head", wrong)
    with pytest.raises(EdgePoseError, match=r"\[parity lm_head\]"):
        export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_float16_cannot_hold(tmp_path: Path, rewrite: Any) -> None:
    def loud(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = 1e6

    checkpoint = rewrite(loud)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInputError, match=r"decoder\.layers\.1\.mlp\.up_proj\.weight.*1e\+06"):
        export_bundle(family="locllm", checkpoint=checkpoint, out=tmp_path / "bundle", precision="fp16")
    assert sorted(tmp_path.iterdir()) == before
