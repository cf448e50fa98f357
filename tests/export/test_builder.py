# SPDX-License-Identifier: Apache-2.0
"""The graph builder: names, files, types, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from edgepose.bundle import PRECISIONS
from edgepose.errors import InvalidInputError
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.graphs.nodes import IR_VERSION, OPSET
from edgepose.export.graphs.reader import ExportedGraph


def write_layer(path: Path, precision: str, weights: dict[str, Tensor], *, bias: bool = True) -> GraphBuilder:
    inputs, outputs = weights["layer.weight"].shape[1], weights["layer.weight"].shape[0]
    with GraphBuilder(path, PRECISIONS[precision], weights) as graph, graph.scope("outer"):
        x = graph.input("x", graph.dtype, ("N", inputs))
        int4 = PRECISIONS[precision].weights == "int4"
        graph.output("y", graph.linear(x, "layer", bias=bias, int4=int4), graph.dtype, ("N", outputs))
    return graph


def layer(inputs: int, outputs: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"layer.weight": torch.randn(outputs, inputs), "layer.bias": torch.randn(outputs)}


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 0.05)])
def test_linear(tmp_path: Path, precision: str, tolerance: float) -> None:
    weights = layer(48, 80)
    write_layer(tmp_path / "g.onnx", precision, weights)
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    x = torch.randn(3, 48)
    (found,) = session.run(None, {"x": x.numpy().astype(PRECISIONS[precision].activations)})
    expected = x @ weights["layer.weight"].T + weights["layer.bias"]
    np.testing.assert_allclose(found, expected, atol=tolerance)
    stored = ExportedGraph(tmp_path / "g.onnx").linear_weight("layer.weight")
    np.testing.assert_allclose(stored, weights["layer.weight"], rtol=1e-3)


@pytest.mark.parametrize("precision", ["fp32-half", "int4-half"])
def test_half_storage_is_widened_at_load(tmp_path: Path, precision: str) -> None:
    weights = layer(128, 64)
    rounded = {name: weight.half().float() for name, weight in weights.items()}
    write_layer(tmp_path / "half.onnx", precision, weights)
    write_layer(tmp_path / "whole.onnx", precision.removesuffix("-half"), rounded)
    stored = onnx.load(tmp_path / "half.onnx", load_external_data=False).graph.initializer
    assert {t.data_type for t in stored if t.name == "layer.bias"} == {onnx.TensorProto.FLOAT16}
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    x = torch.randn(3, 128).numpy()
    found, expected = (
        onnxruntime.InferenceSession(tmp_path / name, options, providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for name in ("half.onnx", "whole.onnx")
    )
    if precision == "fp32-half":  # INT4 integers are those of the weights before rounding
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, expected, atol=0.05 * float(np.abs(expected).max()))
    onnxruntime.InferenceSession(tmp_path / "half.onnx", options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "Cast" not in kinds and "DequantizeLinear" not in kinds


def test_file_and_names(tmp_path: Path) -> None:
    write_layer(tmp_path / "g.onnx", "int4", layer(128, 64))
    model = onnx.load(tmp_path / "g.onnx", load_external_data=False)
    assert (model.opset_import[0].version, model.ir_version) == (OPSET, IR_VERSION) == (21, 10)
    assert [node.name for node in model.graph.node] == [
        "outer.layer.DequantizeLinear",
        "outer.layer.MatMul",
        "outer.layer.Add",
    ]
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    assert set(tensors) == {"layer.weight", "layer.weight.scales", "layer.bias"}
    assert tensors["layer.weight"].data_type == onnx.TensorProto.INT4
    assert tensors["layer.bias"].raw_data  # small: inline
    where = {entry.key: entry.value for entry in tensors["layer.weight"].external_data}
    assert where == {"location": "g.onnx.data", "offset": "0", "length": str(128 * 64 // 2)}
    assert (tmp_path / "g.onnx.data").stat().st_size == 128 * 64 // 2  # the scales are small too


def test_large_tensors_are_aligned_and_written_in_pieces(tmp_path: Path) -> None:
    weights = {"layer.weight": torch.randn(2100, 2048), "layer.bias": torch.randn(2100)}
    write_layer(tmp_path / "g.onnx", "fp32", weights)
    model = onnx.load(tmp_path / "g.onnx", load_external_data=False)
    offsets = [int(e.value) for t in model.graph.initializer for e in t.external_data if e.key == "offset"]
    assert len(offsets) == 2 and all(offset % 4096 == 0 for offset in offsets)
    stored = ExportedGraph(tmp_path / "g.onnx").linear_weight("layer.weight")
    assert torch.equal(stored, weights["layer.weight"])


def test_no_data_file_where_nothing_is_large(tmp_path: Path) -> None:
    write_layer(tmp_path / "g.onnx", "fp32", layer(4, 4))
    assert [file.name for file in tmp_path.iterdir()] == ["g.onnx"]


def test_width_without_a_block_stays_whole_and_is_named(tmp_path: Path) -> None:
    graph = write_layer(tmp_path / "g.onnx", "int4", layer(50, 64))
    assert graph.full_precision == ["layer.weight"]
    kinds = [node.op_type for node in onnx.load(tmp_path / "g.onnx").graph.node]
    assert kinds == ["MatMul", "Add"]


@pytest.mark.parametrize(
    ("value", "precision", "fragment"),
    [(1e6, "fp16", "1e+06"), (float("nan"), "fp32", "nan"), (float("inf"), "int4", "inf")],
)
def test_values_that_do_not_fit(tmp_path: Path, value: float, precision: str, fragment: str) -> None:
    weights = layer(64, 64)
    weights["layer.weight"][3, 5] = value
    with pytest.raises(InvalidInputError, match=r"layer\.weight.*finite") as caught:
        write_layer(tmp_path / "g.onnx", precision, weights)
    assert fragment in str(caught.value)
    assert list(tmp_path.iterdir()) == []


_STREAM = """
import sys, torch
from pathlib import Path
from edgepose.bundle import PRECISIONS
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.peak_memory import peak_rss_bytes

class Weights(dict):
    def __missing__(self, name):
        return torch.full((1024, 4096), 0.5)

def write(path, precision, layers):
    with GraphBuilder(path, PRECISIONS[precision], Weights()) as graph:
        x = graph.input("x", graph.dtype, ("N", 4096))
        for index in range(layers):
            graph.linear(x, f"layer.{index}", int4=precision == "int4")
        graph.output("y", graph.op("Relu", x), graph.dtype, ("N", 4096))

folder, precision = Path(sys.argv[1]), sys.argv[2]
write(folder / "warm.onnx", precision, 2)
before = peak_rss_bytes()
write(folder / "all.onnx", precision, 24)
print(peak_rss_bytes() - before)
"""


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_memory_is_that_of_one_weight(tmp_path: Path, precision: str) -> None:
    """Twenty-four matrices of 17 MB; what two of them take is the baseline.

    What the allocator keeps differs from machine to machine, by a few matrices.
    """
    run = [sys.executable, "-c", _STREAM, str(tmp_path), precision]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 135e6  # bytes, of 403e6 in all


def test_layer_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = {"norm.weight": torch.randn(24), "norm.bias": torch.randn(24)}
    with GraphBuilder(tmp_path / "g.onnx", PRECISIONS["fp32"], weights) as graph:
        x = graph.input("x", graph.dtype, ("N", 24))
        graph.output("y", graph.layer_norm(x, "norm", 1e-3), graph.dtype, ("N", 24))
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    given = torch.randn(5, 24) * 0.1
    (found,) = session.run(None, {"x": given.numpy()})
    expected = torch.nn.functional.layer_norm(given, (24,), *weights.values(), eps=1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
