# SPDX-License-Identifier: Apache-2.0
"""The vision encoder's graph against the PyTorch module, and what ONNX Runtime makes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgepose.bundle import PRECISIONS
from edgepose.export.graphs.dinov2 import write_vision_encoder
from edgepose.export.models import VisionConfig, VisionEncoder

CONFIG = VisionConfig(image_size=56, patch_size=14, hidden=128, layers=2, heads=2, mlp=192)


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    torch.manual_seed(0)
    module = VisionEncoder(CONFIG).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        parameter.copy_(
            torch.randn_like(parameter) * 0.2 + (1.0 if "norm" in name and "weight" in name else 0.0)
        )
    return module


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 3e-5), ("int4", 3e-5), ("fp16", 0.03)])
@pytest.mark.parametrize("batch", [1, 3])
def test_against_pytorch(
    tmp_path: Path, encoder: VisionEncoder, precision: str, tolerance: float, batch: int
) -> None:
    weights = {f"vision.{name}": tensor for name, tensor in encoder.state_dict().items()}
    steps: list[tuple[int, int]] = []
    spec = PRECISIONS[precision]
    write_vision_encoder(
        tmp_path / "v.onnx", CONFIG, weights, spec, progress=lambda done, total: steps.append((done, total))
    )
    session = onnxruntime.InferenceSession(tmp_path / "v.onnx", providers=["CPUExecutionProvider"])
    pixels = torch.randn(batch, 3, 56, 56)
    (features,) = session.run(["features"], {"pixels": pixels.numpy().astype(spec.activations)})
    assert features.dtype == spec.activations and features.shape == (batch, 16, 128)
    np.testing.assert_allclose(features, encoder(pixels), atol=tolerance)
    assert steps == [(1, 2), (2, 2)]


def test_onnxruntime_fuses(tmp_path: Path, encoder: VisionEncoder) -> None:
    weights = {f"vision.{name}": tensor for name, tensor in encoder.state_dict().items()}
    write_vision_encoder(tmp_path / "v.onnx", CONFIG, weights, PRECISIONS["fp32"])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "v.onnx", options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
    kinds = Counter(node.op_type for node in optimized.graph.node)
    assert kinds["BiasGelu"] == 2 and kinds["Erf"] == 0
    assert kinds["FusedMatMul"] == 2  # scores: transposition and scale
    assert kinds["LayerNormalization"] == 5
