# SPDX-License-Identifier: Apache-2.0
"""Graphs against the table of what TensorRT 10.3's ONNX parser takes, which cannot run here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgepose.bundle import GRAPHS, PRECISIONS, Bundle
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.engines.parser_limits import parser_problems

from .conftest import FAMILIES


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int4-fp16", "int4", "int8-fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_bundle_stays_within(exported: Callable[[str, str], Path], family: str, precision: str) -> None:
    assert precision in PRECISIONS
    bundle = Bundle.open(exported(family, precision))
    assert {name: parser_problems(OnnxGraph(bundle.graph(name))) for name in GRAPHS} == dict.fromkeys(
        GRAPHS, []
    )


def written(tmp_path: Path, *nodes: Any, opset: int = 21, dtype: int = TensorProto.FLOAT16) -> OnnxGraph:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", dtype, ["B", 128])],
        [helper.make_tensor_value_info("y", dtype, None)],
        [
            helper.make_tensor("w", TensorProto.INT8, [128, 2], [1] * 256),
            helper.make_tensor("scale", TensorProto.FLOAT16, [], [1.0]),
            helper.make_tensor("zero", TensorProto.INT8, [], [0]),
            helper.make_tensor("three", TensorProto.INT8, [], [3]),
            helper.make_tensor("axes", TensorProto.INT64, [1], [0]),
            helper.make_tensor("w4", TensorProto.INT4, [128, 2], [1] * 256),
            helper.make_tensor("scale32", TensorProto.FLOAT16, [4, 2], [1.0] * 8),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    file = tmp_path / "g.onnx"
    onnx.save(model, str(file))
    return OnnxGraph(file)


def node(kind: str, *inputs: str, outputs: tuple[str, ...] = ("y",), **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), list(outputs), name="n", **attributes)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("Relu", "x")], "n (Relu): expected an operator of the table"),
        ([node("Shape", "x", start=1)], "n (Shape): expected no attribute start"),
        ([node("FusedMatMul", "x", "x", domain="com.microsoft")], "got one of domain com.microsoft"),
        ([node("DequantizeLinear", "w", "scale", "three")], "expected a zero point of zeros"),
        (
            [node("DequantizeLinear", "w4", "scale32", axis=0, block_size=32)],
            "blocks of [64, 128] for INT4; got 32",
        ),
        (
            [node("Shape", "x", outputs=("s",)), node("Unsqueeze", "x", "s")],
            "n (Unsqueeze): expected input 1 to be a weight; got s",
        ),
        (
            [node("MatMul", "w", "w")],
            "n (MatMul): expected float32 or float16 or bfloat16; got int8 [128, 2]",
        ),
        ([node("LayerNormalization", "x", "x", outputs=("y", "mean"))], "expected 1 output; got 2"),
    ],
)
def test_what_is_refused(tmp_path: Path, nodes: list[Any], said: str) -> None:
    graph = written(tmp_path, *nodes)
    graph.values = {**{i.name: i for i in graph.inputs}, **graph_values(graph)}  # shapes need not fit here
    assert any(said in problem for problem in parser_problems(graph)), parser_problems(graph)


def graph_values(graph: OnnxGraph) -> dict[str, Any]:
    from edgepose.engines.onnx_graph import Value, dtype_name

    return {
        name: Value(dtype_name(tensor.data_type), tuple(tensor.dims))
        for name, tensor in graph.initializers.items()
    }


def test_zero_point_of_zeros_is_taken(tmp_path: Path) -> None:
    assert parser_problems(written(tmp_path, node("DequantizeLinear", "w", "scale", "zero"))) == []


def test_opset_and_types(tmp_path: Path) -> None:
    assert "opset: expected 9 to 21; got 22" in parser_problems(written(tmp_path, node("Neg", "x"), opset=22))
    double = written(tmp_path, node("Neg", "x"), dtype=TensorProto.DOUBLE)
    assert any("input x: expected one of float32" in problem for problem in parser_problems(double))
