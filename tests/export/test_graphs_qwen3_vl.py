# SPDX-License-Identifier: Apache-2.0
"""The graphs of Qwen3-VL in ONNX Runtime against transformers, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from edgepose.bundle import PRECISIONS
from edgepose.export.architectures import QWEN3_VL
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.goldens import worst_row_error
from edgepose.export.graphs import qwen3_vl_vision
from edgepose.export.graphs.llama import write_llm_decoder
from edgepose.export.weights import ModelWeights

pytest.importorskip("transformers")

Make = Callable[..., Any]
Arrays = dict[str, NDArray[Any]]

PORTABLE = {
    *("Add", "Cast", "Concat", "Div", "Erf", "Gather", "Identity", "LayerNormalization", "MatMul", "Mul"),
    *("Neg", "ReduceSum", "Reshape", "Softmax", "Split", "Tanh", "Transpose", "Unsqueeze"),
}
"""Operators that the parser of TensorRT 10.3 reads."""


def write(folder: Path, theirs: Any, precision: str) -> ModelWeights[Any, Any]:
    weights = ModelWeights(open_checkpoint(theirs.save(folder)), QWEN3_VL, dtype=None)
    spec = PRECISIONS[precision]
    QWEN3_VL.write_vision_encoder(folder / "vision_encoder.onnx", weights.config, weights, spec)
    QWEN3_VL.write_connector(folder / "connector.onnx", weights.config, weights, spec)
    return weights


def run(path: Path, given: dict[str, Any]) -> Arrays:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    types = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(int64)": np.int64}
    feed = {
        value.name: np.asarray(given[value.name]).astype(types[value.type]) for value in session.get_inputs()
    }
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def optimized(path: Path) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(path.with_suffix(".optimized"), load_external_data=False)
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("int4", 1e-5), ("fp16", 2e-2)])
@pytest.mark.parametrize("taps", [[0, 2], [3], []])
def test_encoder_and_connector(
    tmp_path: Path, make_qwen3_vl: Make, taps: list[int], precision: str, tolerance: float
) -> None:
    theirs = make_qwen3_vl(vision={"deepstack_visual_indexes": taps})
    write(tmp_path, theirs, precision)
    inputs = theirs.vision_inputs()
    expected = theirs.vision_outputs(inputs["patches"])
    features = run(tmp_path / "vision_encoder.onnx", inputs)
    found = features | run(tmp_path / "connector.onnx", features)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == PRECISIONS[precision].activations
        assert worst_row_error(array, expected[name].numpy()) < tolerance, name


def test_frames_of_any_size_go_through_one_graph(tmp_path: Path, make_qwen3_vl: Make) -> None:
    theirs = make_qwen3_vl()
    write(tmp_path, theirs, "fp32")
    for theirs.GRID in ((2, 2), (4, 8), (8, 6)):
        inputs = theirs.vision_inputs()
        expected = theirs.vision_outputs(inputs["patches"])
        features = run(tmp_path / "vision_encoder.onnx", inputs)
        rows = run(tmp_path / "connector.onnx", features)["image_embeddings"]
        assert rows.shape == (theirs.GRID[0] * theirs.GRID[1] // 4, 64)
        assert worst_row_error(rows, expected["image_embeddings"].numpy()) < 1e-5


def test_heads_in_groups_change_nothing(
    tmp_path: Path, make_qwen3_vl: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = make_qwen3_vl(vision={"hidden_size": 96, "num_heads": 6})
    write(tmp_path, theirs, "fp32")
    inputs = theirs.vision_inputs()
    whole = run(tmp_path / "vision_encoder.onnx", inputs)
    head = 4 * qwen3_vl_vision._MOST_PATCHES**2
    monkeypatch.setattr(qwen3_vl_vision, "_SCORE_BYTES", 5 * head)  # 3 divides 6 heads, 4 and 5 do not
    write(tmp_path, theirs, "fp32")
    model = onnx.load(tmp_path / "vision_encoder.onnx", load_external_data=False)
    softmaxes = [node.name for node in model.graph.node if node.op_type == "Softmax"]
    assert len(softmaxes) == 4 * 2 and softmaxes[1] == "blocks.0.attn.group.1.Softmax"
    for name, array in run(tmp_path / "vision_encoder.onnx", inputs).items():
        np.testing.assert_allclose(array, whole[name], rtol=1e-5, atol=1e-5)


def test_groups_of_the_published_size_stay_below_a_gigabyte(tmp_path: Path, make_qwen3_vl: Make) -> None:
    write(tmp_path, make_qwen3_vl(vision={"hidden_size": 128, "num_heads": 16}), "fp32")
    model = onnx.load(tmp_path / "vision_encoder.onnx", load_external_data=False)
    assert sum(node.op_type == "Softmax" for node in model.graph.node) == 4 * 8


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_only_portable_operators(tmp_path: Path, make_qwen3_vl: Make, precision: str) -> None:
    weights = write(tmp_path, make_qwen3_vl(), precision)
    for name in ("vision_encoder", "connector"):
        model = onnx.load(tmp_path / f"{name}.onnx", load_external_data=False)
        assert {node.op_type for node in model.graph.node} <= PORTABLE
        assert [entry.domain for entry in model.opset_import] == [""]
        onnx.checker.check_model(tmp_path / f"{name}.onnx", full_check=True)
    decoder = weights.config.decoder
    write_llm_decoder(tmp_path / "d.onnx", decoder, weights, PRECISIONS[precision])
    onnx.checker.check_model(tmp_path / "d.onnx", full_check=True)


def test_onnxruntime_fuses(tmp_path: Path, make_qwen3_vl: Make) -> None:
    weights = write(tmp_path, make_qwen3_vl(), "fp32")
    kinds = optimized(tmp_path / "vision_encoder.onnx")
    assert kinds["FastGelu"] == 4 and kinds["Tanh"] == 0
    assert kinds["FusedMatMul"] == 4  # scores with the transposition of the keys
    assert kinds["LayerNormalization"] + kinds["SkipLayerNormalization"] == 8
    kinds = optimized(tmp_path / "connector.onnx")
    assert kinds["BiasGelu"] + kinds["Gelu"] == 3 and kinds["Erf"] == 0
    write_llm_decoder(tmp_path / "d.onnx", weights.config.decoder, weights, PRECISIONS["fp32"])
    kinds = optimized(tmp_path / "d.onnx")
    # Two norms a layer, two of heads, and the last.
    assert kinds["SimplifiedLayerNormalization"] + kinds["SkipSimplifiedLayerNormalization"] == 3 * 4 + 1
    assert kinds["Pow"] == 0


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 3e-2)])
@torch.inference_mode()
def test_decoder(
    tmp_path: Path, make_qwen3_vl: Make, precision: str, tolerance: float, kv_heads: int
) -> None:
    """A prefix with an image, then two rows of text on its cache, as transformers does it in one go."""
    theirs = make_qwen3_vl(text={"num_key_value_heads": kv_heads})
    weights = ModelWeights(open_checkpoint(theirs.save(tmp_path)), QWEN3_VL)
    config, spec = weights.config.decoder, PRECISIONS[precision]
    write_llm_decoder(tmp_path / "d.onnx", config, weights, spec)
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(2, 12, config.hidden, generator=generator)
    embeddings[1, :9] = embeddings[0, :9]
    positions = torch.arange(12).expand(3, 2, 12).clone()
    positions[:, :, 2:8] = 2 + torch.tensor([[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]])[:, None]
    positions[:, :, 8:] = 5 + torch.arange(4)
    seen = torch.zeros(2, 12, dtype=torch.bool)
    seen[:, 2:8] = True
    rows = [torch.randn(6, config.hidden, generator=generator) for _ in range(config.deepstack)]
    model = theirs.model.model.language_model
    expected = model(
        inputs_embeds=embeddings,
        position_ids=positions,
        visual_pos_masks=seen,
        deepstack_visual_embeds=[row.repeat(2, 1) for row in rows],
        use_cache=False,
    ).last_hidden_state.numpy()
    cos, sin = model.rotary_emb(embeddings, positions)
    added = np.zeros((config.deepstack, 1, 9, config.hidden), np.float32)
    added[:, 0, 2:8] = np.stack([row.numpy() for row in rows])

    def attend(count: int, cached: int, new: int) -> NDArray[Any]:
        seen = np.tril(np.ones((new, cached + new)), k=cached)
        return np.broadcast_to(np.where(seen, 0, -30000), (count, new, cached + new))

    def caches(kind: str, count: int, found: Arrays) -> Arrays:
        empty = np.zeros((kv_heads, count, 0, config.head_dim))
        return {
            f"{kind}_{half}.{layer}": found.get(f"{half}.{layer}", empty)
            for half in ("key", "value")
            for layer in range(config.layers)
        }

    prefix = run(
        tmp_path / "d.onnx",
        {
            "embeddings": embeddings[:1, :9],
            "cos": cos[:1, :9],
            "sin": sin[:1, :9],
            "bias": attend(1, 0, 9),
            "logit_positions": [range(9)],
            **{f"deepstack.{index}": part for index, part in enumerate(added)},
            **caches("prefix", 1, {}),
            **caches("suffix", 1, {}),
        },
    )
    suffix = run(
        tmp_path / "d.onnx",
        {
            "embeddings": embeddings[:, 9:],
            "cos": cos[:, 9:],
            "sin": sin[:, 9:],
            "bias": attend(2, 9, 3),
            "logit_positions": [range(3)] * 2,
            **{f"deepstack.{index}": np.zeros((1, 1, config.hidden)) for index in range(config.deepstack)},
            **caches("prefix", 1, prefix),
            **caches("suffix", 2, {}),
        },
    )
    assert worst_row_error(prefix["hidden"], expected[:1, :9]) < tolerance
    assert worst_row_error(suffix["hidden"], expected[:, 9:]) < tolerance
