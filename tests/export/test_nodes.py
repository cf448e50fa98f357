# SPDX-License-Identifier: Apache-2.0
"""Nodes of a graph: their names, the constants they share, the outputs they become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgepose.bundle import PRECISIONS
from edgepose.export.graphs.builder import GraphBuilder


def test_equal_names_are_told_apart_and_constants_shared(tmp_path: Path) -> None:
    with GraphBuilder(tmp_path / "g.onnx", PRECISIONS["fp32"], {}) as graph:
        x = graph.input("x", graph.dtype, (2,))
        first = graph.op("Add", x, graph.scalar(1.0))
        second = graph.op("Add", first, graph.scalar(1.0))
        left, right = graph.ops("Split", second, outputs=2, num_outputs=2)
        graph.output("y", graph.op("Mul", left, right), graph.dtype, (1,))
    assert (first, second, left) == ("Add", "Add.1", "Split.0")
    model = onnx.load(tmp_path / "g.onnx")
    assert len(model.graph.initializer) == 1
    assert [value.name for value in model.graph.output] == ["y"] == list(model.graph.node[-1].output)


def test_one_value_may_be_two_outputs(tmp_path: Path) -> None:
    with GraphBuilder(tmp_path / "g.onnx", PRECISIONS["fp32"], {}) as graph:
        x = graph.input("x", graph.dtype, ("N",))
        y = graph.op("Neg", x)
        graph.output("first", y, graph.dtype, ("N",))
        graph.output("second", y, graph.dtype, ("N",))
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["first", "second"], {"x": np.array([1, 2], np.float32)})
    assert [list(each) for each in found] == [[-1, -2], [-1, -2]]
