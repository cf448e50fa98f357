# SPDX-License-Identifier: Apache-2.0
"""Parity of exported graphs with PyTorch: what passes, what is noticed, what is kept as goldens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from edgepose.bundle import GRAPHS, PRECISIONS
from edgepose.errors import EdgePoseError
from edgepose.export.architectures import DINOV2_LLAMA
from edgepose.export.goldens import sample_pixels, worst_row_error, write_goldens
from edgepose.export.graphs.connector import write_connector
from edgepose.export.graphs.dinov2 import write_vision_encoder
from edgepose.export.graphs.heads import write_head
from edgepose.export.graphs.llama import write_llm_decoder
from edgepose.export.models import ConnectorConfig, DecoderConfig, ModelConfig, PoseModel, VisionConfig
from edgepose.export.parity import TOLERANCES, check_parity

CONFIG = ModelConfig(
    VisionConfig(image_size=56, patch_size=14, hidden=64, layers=1, heads=1, mlp=96),
    ConnectorConfig((64, 80, 128)),
    DecoderConfig(128, 2, 4, 2, 32, 192, 50, 10000.0, 1e-5, 64),
)
ANSWER_HEAD = (3, 7, 9)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(PoseModel(CONFIG).requires_grad_(False).state_dict())


def write_graphs(folder: Path, weights: dict[str, Tensor], precision: str) -> None:
    spec = PRECISIONS[precision]
    write_vision_encoder(folder / "vision_encoder.onnx", CONFIG.vision, weights, spec)
    write_connector(folder / "connector.onnx", CONFIG.connector, weights, spec, patches=16)
    write_llm_decoder(folder / "llm_decoder.onnx", CONFIG.decoder, weights, spec)
    write_head(folder / "lm_head.onnx", weights["lm_head.weight"], spec)
    write_head(folder / "answer_head.onnx", weights["lm_head.weight"], spec, token_ids=ANSWER_HEAD)


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if "int8" not in name])
def test_every_precision(tmp_path: Path, weights: dict[str, Tensor], precision: str) -> None:
    spec = PRECISIONS[precision]
    write_graphs(tmp_path, weights, precision)
    steps: list[tuple[int, int]] = []
    parity, goldens = check_parity(
        tmp_path,
        DINOV2_LLAMA,
        CONFIG,
        weights,
        spec,
        ANSWER_HEAD,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert tuple(parity) == GRAPHS
    assert steps == [(done, 6) for done in range(1, 7)]
    tolerance = TOLERANCES["float16" if spec.half_storage else spec.activations]
    for name, found in parity.items():
        assert found.error <= found.tolerance == tolerance
        assert (found.layer_error is not None) == (name == "llm_decoder")
    quantization_error = parity["llm_decoder"].quantization_error
    if spec.weights == "int4":
        assert quantization_error is not None and 0.03 < quantization_error < 0.5
    else:
        assert quantization_error is None

    cases = [f"{golden.graph}/{golden.case}" for golden in goldens]
    assert cases == [
        "vision_encoder/sample",
        "connector/sample",
        "llm_decoder/prefix",
        "llm_decoder/suffix",
        "llm_decoder/decode",
        "lm_head/sample",
        "answer_head/sample",
    ]
    decode = goldens[4]
    assert decode.inputs["embeddings"].shape == (3, 2, 128)
    assert decode.inputs["bias"].shape == (3, 2, 10 + 7 + 2)
    assert decode.outputs["hidden"].shape == (3, 2, 128)
    assert all(value.dtype == np.float32 for golden in goldens for value in golden.outputs.values())


@pytest.mark.parametrize(
    ("name", "graph"),
    [
        ("vision.blocks.0.ls1.gamma", "vision_encoder"),
        ("connector.1.bias", "connector"),
        ("decoder.layers.0.self_attn.v_proj.weight", "llm_decoder"),
        ("decoder.layers.1.mlp.down_proj.weight", "llm_decoder"),
        ("decoder.norm.weight", "llm_decoder"),
        ("lm_head.weight", "lm_head"),
    ],
)
def test_a_wrong_weight_is_noticed(tmp_path: Path, weights: dict[str, Tensor], name: str, graph: str) -> None:
    changed = {**weights, name: weights[name].clone()}
    changed[name][3] += 1.0
    write_graphs(tmp_path, changed, "fp32")
    with pytest.raises(EdgePoseError, match=rf"\[parity {graph}\] .* within 0.0005; got "):
        check_parity(tmp_path, DINOV2_LLAMA, CONFIG, weights, PRECISIONS["fp32"], ANSWER_HEAD)


@pytest.mark.parametrize("kind", ["Neg", "Softmax", "GatherND"])
def test_a_wrong_graph_is_noticed(tmp_path: Path, weights: dict[str, Tensor], kind: str) -> None:
    """A sign of the rotation, the axis of a softmax, a mask that belongs to other rows."""
    write_graphs(tmp_path, weights, "fp32")
    model = onnx.load(tmp_path / "llm_decoder.onnx", load_external_data=False)
    if kind == "Neg":
        node = next(node for node in model.graph.node if node.op_type == "Neg")
        node.op_type = "Identity"
    elif kind == "Softmax":
        node = [node for node in model.graph.node if node.op_type == "Softmax"][1]
        next(a for a in node.attribute if a.name == "axis").i = -2
    else:
        node = next(node for node in model.graph.node if node.name.endswith("gather_hidden"))
        node.input[0] = "embeddings"
    (tmp_path / "llm_decoder.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EdgePoseError, match=r"\[parity llm_decoder\]"):
        check_parity(tmp_path, DINOV2_LLAMA, CONFIG, weights, PRECISIONS["fp32"], ANSWER_HEAD)


def test_overflow_in_float16_is_noticed(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    loud = dict(weights)
    loud["decoder.layers.0.mlp.down_proj.weight"] = weights["decoder.layers.0.mlp.down_proj.weight"] * 3e5
    write_graphs(tmp_path, loud, "fp16")
    with pytest.raises(EdgePoseError, match=r"\[parity llm_decoder\].*inf.*float32 activations"):
        check_parity(tmp_path, DINOV2_LLAMA, CONFIG, loud, PRECISIONS["fp16"], ANSWER_HEAD)


def test_worst_row_error() -> None:
    expected = np.array([[3.0, 4.0], [0.0, 0.1]], dtype=np.float32)
    assert worst_row_error(expected, expected) == 0.0
    assert worst_row_error(expected + [[0.0, 0.5], [0.0, 0.0]], expected) == pytest.approx(0.1)
    # A row of nearly nothing is measured by the mean length.
    assert worst_row_error(expected + [[0.0, 0.0], [0.0, 0.51]], expected) == pytest.approx(0.2)
    assert worst_row_error(np.full((2, 2), np.nan), expected) == float("inf")
    assert worst_row_error(np.zeros((2, 2)), np.zeros((2, 2))) == 0.0


def test_goldens_file(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    write_graphs(tmp_path, weights, "fp16")
    _, goldens = check_parity(tmp_path, DINOV2_LLAMA, CONFIG, weights, PRECISIONS["fp16"], ANSWER_HEAD)
    write_goldens(
        tmp_path / "goldens.npz", [dataclasses.replace(golden, tolerance=0.25) for golden in goldens]
    )
    with np.load(tmp_path / "goldens.npz", allow_pickle=False) as archive:
        names = [name for name in archive.files if name.startswith("llm_decoder/suffix/")]
        assert names == [
            *(
                f"llm_decoder/suffix/input/{n}"
                for n in ("embeddings", "cos", "sin", "bias", "logit_positions")
            ),
            *(f"llm_decoder/suffix/output/{n}" for n in ("hidden", "key.1", "value.1")),
            "llm_decoder/suffix/tolerance",
        ]
        assert archive["llm_decoder/suffix/input/embeddings"].dtype == np.float16
        assert archive["lm_head/sample/tolerance"] == 0.25
    assert "hidden" in repr(goldens[-1])


def test_sample_pixels() -> None:
    picture = sample_pixels(28, 7)
    assert picture.shape == (1, 3, 28, 28) and picture.dtype == np.float32
    assert 0.3 < picture.std() < 1.5 and np.abs(picture).max() <= 2.0
    np.testing.assert_array_equal(picture, sample_pixels(28, 7))
    assert np.abs(picture - sample_pixels(28, 8)).max() > 0.5
