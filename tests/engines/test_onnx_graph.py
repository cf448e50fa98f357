# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgepose.bundle import Bundle
from edgepose.engines.onnx_graph import OnnxGraph, Value
from edgepose.errors import BundleError


@pytest.fixture
def connector(exported: Callable[[str, str], Path]) -> OnnxGraph:
    return OnnxGraph(Bundle.open(exported("posellm", "fp16")).graph("connector"))


def test_what_the_file_says(connector: OnnxGraph) -> None:
    assert connector.name == "connector" and connector.opset == 21
    assert [(item.name, item.dtype, item.shape[0]) for item in connector.inputs] == [
        ("features", "float16", "B")
    ]
    assert connector.outputs == ("image_embeddings",)
    assert connector.bytes == sum(
        file.stat().st_size for file in connector.path.parent.glob("connector.onnx*")
    )
    assert connector.values["gelu.Erf"] == Value("float16", ("B", 256, 192))
    assert str(connector.values["gelu.Erf"]) == "float16 ['B', 256, 192]"


def test_describe(connector: OnnxGraph) -> None:
    assert connector.describe("gelu.Erf") == "gelu.Erf (Erf) of gelu.Div float16 ['B', 256, 192]"
    assert connector.describe("nothing") is None
    assert list(connector.named_in("trouble at connector.0.MatMul, it seems")) == ["connector.0.MatMul"]


def test_no_graph(tmp_path: Path) -> None:
    for content in (b"\xff\xfe garbage", b""):
        (tmp_path / "connector.onnx").write_bytes(content)
        with pytest.raises(BundleError, match="expected an ONNX model"):
            OnnxGraph(tmp_path / "connector.onnx")
