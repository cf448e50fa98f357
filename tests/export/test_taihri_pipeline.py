# SPDX-License-Identifier: Apache-2.0
"""Exporting TAIHRI checkpoints: graphs, manifest, options, and checkpoints that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np  # noqa: E402
import onnx  # noqa: E402

from edgepose.answer_layout import SEPARATORS  # noqa: E402
from edgepose.bundle import GRAPHS, BinCodecSpec, Bundle, LayoutSpec  # noqa: E402
from edgepose.cli import main  # noqa: E402
from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export import export_bundle  # noqa: E402
from edgepose.export.checkpoint import open_checkpoint  # noqa: E402
from edgepose.export.tokenizer import load_byte_level_tokenizer  # noqa: E402
from edgepose.keypoints import KEYPOINT_SETS  # noqa: E402
from edgepose.manifest import BLOCKS, MARKERS  # noqa: E402
from edgepose.verify import verify_bundle  # noqa: E402

Edit = Callable[..., Path]


@pytest.fixture
def edit(taihri_checkpoint: Path, tmp_path: Path) -> Edit:
    """A copy of the checkpoint with some JSON files changed; None removes one."""

    def make(**files: dict[str, Any] | None) -> Path:
        folder = tmp_path / "checkpoint"
        shutil.copytree(taihri_checkpoint, folder)
        for stem, change in files.items():
            file = folder / f"{stem}.json"
            if change is None:
                file.unlink()
            else:
                stored = json.loads(file.read_text(encoding="utf-8"))
                file.write_text(json.dumps({**stored, **change}), encoding="utf-8")
        return folder

    return make


def shapes(path: Path) -> dict[str, dict[str, tuple[str, list[int | str]]]]:
    """Names, types and shapes of a graph's inputs and outputs."""
    graph = onnx.load(path, load_external_data=False).graph

    def described(values: Any) -> dict[str, tuple[str, list[int | str]]]:
        found = {}
        for value in values:
            tensor = value.type.tensor_type
            dims = [dim.dim_value or dim.dim_param for dim in tensor.shape.dim]
            found[value.name] = (onnx.TensorProto.DataType.Name(tensor.elem_type), dims)
        return found

    return {"inputs": described(graph.input), "outputs": described(graph.output)}


@pytest.mark.parametrize(
    ("precision", "activations"), [("fp32", "FLOAT"), ("int4", "FLOAT"), ("fp16", "FLOAT16")]
)
def test_export(taihri_checkpoint: Path, tmp_path: Path, precision: str, activations: str) -> None:
    report = export_bundle(
        family="taihri", checkpoint=taihri_checkpoint, out=tmp_path / "bundle", precision=precision
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]
    bundle = Bundle.open(tmp_path / "bundle")
    bundle.check_hashes()
    assert tuple(report.parity) == GRAPHS

    encoder = shapes(bundle.graph("vision_encoder"))
    patches = encoder["inputs"]["patches"][1][0]
    assert encoder["inputs"] == {
        "patches": (activations, [patches, 3 * 16 * 16]),
        "position_indices": ("INT64", [4, patches]),
        "position_weights": ("FLOAT", [4, patches]),
        "cos": ("FLOAT", [patches, 32]),
        "sin": ("FLOAT", [patches, 32]),
    }
    features = {name: (activations, [patches, 128]) for name in ("features", "tap.0", "tap.1", "tap.2")}
    assert encoder["outputs"] == features
    connector = shapes(bundle.graph("connector"))
    assert set(connector["inputs"]) == set(features)
    rows = connector["outputs"]["image_embeddings"][1][0]
    assert connector["outputs"] == {
        name: (activations, [rows, 128])
        for name in ("image_embeddings", "deepstack.0", "deepstack.1", "deepstack.2")
    }
    decoder = shapes(bundle.graph("llm_decoder"))
    added = [decoder["inputs"][f"deepstack.{k}"] for k in range(3)]
    assert all(kind == activations and len(dims) == 3 and dims[2] == 128 for kind, dims in added)
    assert "deepstack.3" not in decoder["inputs"]
    operators = {node.domain for graph in GRAPHS for node in onnx.load(bundle.graph(graph)).graph.node}
    assert operators <= {"", "ai.onnx"}
    assert verify_bundle(bundle).passed


def test_the_manifest_describes_the_checkpoint(taihri_checkpoint: Path, tmp_path: Path) -> None:
    export_bundle(family="taihri", checkpoint=taihri_checkpoint, out=tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    manifest = bundle.manifest
    assert (manifest.format_version, manifest.family, manifest.crop) == (2, "taihri", None)
    frame, grid, decoder = manifest.frame, manifest.vision.grid, manifest.decoder
    assert frame is not None and grid is not None
    assert (frame.canonical_focal, frame.crop, frame.factor) == (1000.0, None, 32)
    assert (frame.min_pixels, frame.max_pixels) == (12_544, 2_007_040)
    assert frame.mean == frame.std == (0.5, 0.5, 0.5)
    assert (grid.head_dim, grid.rope_theta, grid.table_side, grid.taps) == (32, 10000.0, 8, 3)
    assert (decoder.rope_theta, decoder.rope_sections, decoder.deepstack) == (5e6, (6, 5, 5), 3)

    tokenizer = load_byte_level_tokenizer(taihri_checkpoint).tokenizer
    codec = manifest.codec
    assert isinstance(codec, BinCodecSpec)
    assert codec.bins == tuple(tokenizer.token_to_id(f"<{number}>") for number in range(1000))
    names = KEYPOINT_SETS["smpl22"].keypoints
    assert dict(codec.joints) == {name: tokenizer.token_to_id(f"<|{name}|>") for name in names}
    assert dict(codec.markers) == {name: tokenizer.token_to_id(f"<|{name}|>") for name in MARKERS}
    assert codec.end == codec.pad == tokenizer.token_to_id("<|im_end|>")
    assert (codec.x, codec.y, codec.z) == ((-2.5, 2.5), (-2.5, 2.5), (0.0, 4.0))
    assert (codec.max_tokens, codec.repetition_penalty) == (2048, 1.05)
    assert codec.layout == LayoutSpec(BLOCKS, source="default")
    ids = {*codec.bins, *codec.joints.values(), *codec.markers.values(), codec.end}
    usual = {number for text in SEPARATORS for number in tokenizer.encode(text).ids}
    assert manifest.answer_head == tuple(sorted(ids | usual)) and len(ids) == 1000 + 22 + 6 + 1
    assert (manifest.keypoints.default, dict(manifest.keypoints.texts)) == ("smpl22", {})
    assert (manifest.prompt.format, manifest.prompt.suffix) == ("chat", "{question}")
    assert bundle.tokenizer.token_to_id("<|image_pad|>") == manifest.prompt.image_token
    assert manifest.provenance["tokenizer"] == "tokenizer.json" and manifest.provenance["options"] == {}
    kept = (bundle.path / "tokenizer.json").read_bytes()
    assert kept == (taihri_checkpoint / "tokenizer.json").read_bytes()


def test_the_image_processor_is_read(edit: Edit, tmp_path: Path) -> None:
    change = {
        "size": {"shortest_edge": 4096, "longest_edge": 16_777_216}, "min_pixels": None,
        "max_pixels": 100_000, "image_mean": [0, 0.25, 0.5],
    }  # fmt: skip
    checkpoint = edit(preprocessor_config=change)
    export_bundle(family="taihri", checkpoint=checkpoint, out=tmp_path / "bundle", crop=1400)
    frame = Bundle.open(tmp_path / "bundle").manifest.frame
    assert frame is not None and frame.crop == 1400
    assert (frame.min_pixels, frame.max_pixels) == (4096, 100_000)
    assert (frame.mean, frame.std) == ((0.0, 0.25, 0.5), (0.5, 0.5, 0.5))


UNSAID = {"min_pixels": None, "max_pixels": None}


@pytest.mark.parametrize(
    "change",
    [
        None,
        {**UNSAID, "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}},
        {**UNSAID, "size": None},
        {"min_pixels": 65_536, "max_pixels": 16_777_216},
    ],
)
def test_published_limits_hold_where_the_file_allows_more(
    edit: Edit, tmp_path: Path, change: dict[str, Any] | None
) -> None:
    checkpoint = edit(preprocessor_config=change)
    export_bundle(family="taihri", checkpoint=checkpoint, out=tmp_path / "bundle")
    frame = Bundle.open(tmp_path / "bundle").manifest.frame
    assert frame is not None and (frame.min_pixels, frame.max_pixels) == (12_544, 2_007_040)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"preprocessor_config": {"patch_size": 14}}, "patch_size 14, while the weights are made for 16"),
        ({"preprocessor_config": {"merge_size": 3}}, "merge_size 3, while the weights are made for 2"),
        ({"preprocessor_config": {"min_pixels": "many"}}, "min_pixels 'many', not a whole number above 0"),
        (
            {"preprocessor_config": {"image_std": [1, 2], "patch_size": 0}},
            r"patch_size 0, not a whole number above 0; image_std \[1, 2\], not three numbers",
        ),
        ({"preprocessor_config": {"image_std": [0, 1, 1]}}, r"frame\.std: expected numbers above 0"),
        ({"config": {"model_type": "locllm"}}, "got model_type 'locllm'; pass --family locllm or posellm"),
        ({"tokenizer": None}, r"expected a file tokenizer\.json"),
    ],
)
def test_checkpoints_that_cannot_be_used(
    edit: Edit, tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    checkpoint = edit(**files)
    with pytest.raises(InvalidInputError, match=message):
        export_bundle(family="taihri", checkpoint=checkpoint, out=tmp_path / "bundle")
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_families_are_not_mixed_up(taihri_checkpoint: Path, locllm_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(InvalidInputError, match="got model_type 'qwen3_vl'; pass --family taihri"):
        export_bundle(family="locllm", checkpoint=taihri_checkpoint, out=out)
    with pytest.raises(InvalidInputError, match="expected a taihri checkpoint.* pass --family locllm"):
        export_bundle(family="taihri", checkpoint=locllm_checkpoint, out=out)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (
            "taihri",
            {"keypoint_texts": "t.py"},
            "for taihri than --answer-layout, --crop; got --keypoint-texts",
        ),
        ("taihri", {"prompt_format": "simple"}, "got --prompt-format simple; leave out"),
        ("taihri", {"answer": "2d"}, "taihri was published with, 3d; got '2d'"),
        ("locllm", {"crop": 1400, "answer_layout": "spaced"}, "got --crop 1400, --answer-layout spaced"),
        ("taihri", {"crop": 8}, r"frame\.crop"),
        ("taihri", {"answer_layout": "loose"}, "expected compact or spaced, an answer.*got 'loose'"),
    ],
)
def test_options_of_other_families_are_refused(
    taihri_checkpoint: Path, tmp_path: Path, family: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        export_bundle(family=family, checkpoint=taihri_checkpoint, out=tmp_path / "b", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(taihri_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    arguments = ["export", "--family", "taihri", "--checkpoint", str(taihri_checkpoint), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--precision", "fp32", "--crop", "640", "--answer-layout", "spaced"])
    assert ended.value.code in (0, None)
    manifest = Bundle.open(out).manifest
    assert manifest.frame is not None and manifest.frame.crop == 640
    assert isinstance(manifest.codec, BinCodecSpec) and manifest.codec.layout.source == "option"
    assert manifest.provenance["options"] == {"crop": 640, "answer_layout": "spaced"}


def test_tied_heads_are_the_embedding_table(taihri_checkpoint: Path, tmp_path: Path) -> None:
    assert open_checkpoint(taihri_checkpoint).config["tie_word_embeddings"] is True
    export_bundle(family="taihri", checkpoint=taihri_checkpoint, out=tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    model = onnx.load(bundle.graph("lm_head"))
    (weight,) = (onnx.numpy_helper.to_array(tensor, bundle.path) for tensor in model.graph.initializer)
    table = np.asarray(bundle.embeddings)
    assert any(np.array_equal(each, table) for each in (weight, weight.T))
