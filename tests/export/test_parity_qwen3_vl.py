# SPDX-License-Identifier: Apache-2.0
"""Parity of the exported graphs of Qwen3-VL with PyTorch: what passes, what is noticed, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from edgepose.bundle import GRAPHS, PRECISIONS
from edgepose.errors import EdgePoseError
from edgepose.export.architectures import QWEN3_VL
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.graphs.heads import write_head
from edgepose.export.graphs.llama import write_llm_decoder
from edgepose.export.parity import TOLERANCES, check_parity
from edgepose.export.weights import ModelWeights

pytest.importorskip("transformers")

Make = Callable[..., Any]
ANSWER_HEAD = (3, 7, 9)


def write_graphs(folder: Path, config: Any, weights: Any, precision: str) -> None:
    spec = PRECISIONS[precision]
    QWEN3_VL.write_vision_encoder(folder / "vision_encoder.onnx", config, weights, spec)
    QWEN3_VL.write_connector(folder / "connector.onnx", config, weights, spec)
    write_llm_decoder(folder / "llm_decoder.onnx", config.decoder, weights, spec)
    write_head(folder / "lm_head.onnx", weights["lm_head.weight"], spec)
    write_head(folder / "answer_head.onnx", weights["lm_head.weight"], spec, token_ids=ANSWER_HEAD)


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if "int8" not in name])
def test_every_precision(tmp_path: Path, make_qwen3_vl: Make, precision: str) -> None:
    weights = ModelWeights(open_checkpoint(make_qwen3_vl(tied=True).save(tmp_path)), QWEN3_VL, dtype=None)
    spec = PRECISIONS[precision]
    write_graphs(tmp_path, weights.config, weights, precision)
    parity, goldens = check_parity(tmp_path, QWEN3_VL, weights.config, weights, spec, ANSWER_HEAD)
    assert tuple(parity) == GRAPHS
    tolerance = TOLERANCES["float16" if spec.half_storage else spec.activations]
    for found in parity.values():
        assert found.error <= found.tolerance == tolerance

    by_name = {f"{golden.graph}/{golden.case}": golden for golden in goldens}
    assert by_name["vision_encoder/sample"].outputs.keys() == {"features", "tap.0", "tap.1"}
    connector = by_name["connector/sample"]
    assert connector.inputs.keys() == {"features", "tap.0", "tap.1"}
    assert connector.outputs.keys() == {"image_embeddings", "deepstack.0", "deepstack.1"}
    prefix, decode = by_name["llm_decoder/prefix"].inputs, by_name["llm_decoder/decode"].inputs
    added = prefix["deepstack.1"]
    assert added.shape == (1, 10, 64) and added.dtype == spec.activations
    assert np.abs(added[0, 2:8]).min(axis=1).max() > 0 and not added[0, :2].any() and not added[0, 8:].any()
    assert decode["deepstack.0"].shape == (1, 1, 64) and not decode["deepstack.0"].any()
    # Time stands still while rows and columns of the image go by.
    assert np.array_equal(prefix["cos"][0, 2, 0], prefix["cos"][0, 7, 0])
    assert not np.array_equal(prefix["cos"][0, 2], prefix["cos"][0, 7])


@pytest.mark.parametrize(
    ("name", "graph"),
    [
        ("vision.pos_embed.weight", "vision_encoder"),
        ("vision.blocks.0.mlp.fc2.bias", "vision_encoder"),
        ("connector.deepstack.1.norm.bias", "connector"),
        ("decoder.layers.0.self_attn.q_norm.weight", "llm_decoder"),
        ("decoder.layers.2.self_attn.k_norm.weight", "llm_decoder"),
    ],
)
def test_a_wrong_weight_is_noticed(tmp_path: Path, make_qwen3_vl: Make, name: str, graph: str) -> None:
    weights = ModelWeights(open_checkpoint(make_qwen3_vl().save(tmp_path)), QWEN3_VL)
    changed: dict[str, Tensor] = dict(weights)
    changed[name] = changed[name] * 1.5 + 0.5
    write_graphs(tmp_path, weights.config, changed, "fp32")
    with pytest.raises(EdgePoseError, match=rf"\[parity {graph}\] .* within 0.0005; got "):
        check_parity(tmp_path, QWEN3_VL, weights.config, weights, PRECISIONS["fp32"], ANSWER_HEAD)
