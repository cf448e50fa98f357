# SPDX-License-Identifier: Apache-2.0
"""The graphs of connector and heads against PyTorch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgepose.bundle import PRECISIONS
from edgepose.export.graphs.connector import write_connector
from edgepose.export.graphs.heads import write_head
from edgepose.export.models import Connector, ConnectorConfig


@pytest.mark.parametrize("dims", [(64, 96), (64, 80, 96), (64, 80, 80, 96)])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3)])
def test_connector(tmp_path: Path, dims: tuple[int, ...], precision: str, tolerance: float) -> None:
    torch.manual_seed(0)
    config, spec = ConnectorConfig(dims), PRECISIONS[precision]
    module = Connector(config).requires_grad_(False)
    weights = {f"connector.{name}": tensor for name, tensor in module.state_dict().items()}
    write_connector(tmp_path / "c.onnx", config, weights, spec, patches=9)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(tmp_path / "c.onnx", options, providers=["CPUExecutionProvider"])
    features = torch.randn(2, 9, 64)
    (found,) = session.run(["image_embeddings"], {"features": features.numpy().astype(spec.activations)})
    assert found.dtype == spec.activations
    np.testing.assert_allclose(found, module(features), atol=tolerance)
    if precision == "fp32":
        optimized = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
        assert Counter(node.op_type for node in optimized.graph.node)["BiasGelu"] == len(dims) - 2


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("int4", 1e-5), ("fp16", 0.03)])
def test_heads(tmp_path: Path, precision: str, tolerance: float) -> None:
    torch.manual_seed(0)
    weight, hidden, spec = torch.randn(70, 64), torch.randn(5, 64), PRECISIONS[precision]
    write_head(tmp_path / "lm_head.onnx", weight, spec)
    write_head(tmp_path / "answer_head.onnx", weight, spec, token_ids=(3, 9, 40))
    logits = []
    for name in ("lm_head", "answer_head"):
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"])
        logits += session.run(["logits"], {"hidden": hidden.numpy().astype(spec.activations)})
    assert all(found.dtype == np.float32 for found in logits)
    np.testing.assert_allclose(logits[0], hidden @ weight.T, atol=tolerance)
    np.testing.assert_allclose(logits[1], logits[0][:, [3, 9, 40]], atol=tolerance)
