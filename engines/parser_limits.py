# SPDX-License-Identifier: Apache-2.0
"""Whether a graph stays within what an old parser accepts that cannot run here, by a table of its limits.

What the parser at hand says does not belong here: see `edgepose.engines.compiler`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepose.engines.onnx_graph import OnnxGraph

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["parser_problems"]


@functools.cache
def _limits() -> Mapping[str, Any]:
    text = (Path(__file__).parent / "tensorrt_10_3.toml").read_text(encoding="utf-8")
    table: Mapping[str, Any] = tomllib.loads(text)
    return table


def parser_problems(graph: OnnxGraph) -> list[str]:
    """What the ONNX parser of TensorRT 10.3 would not take, one line each; empty where it takes all."""
    limits = _limits()
    opset, types = limits["opset"], limits["types"]
    problems = []
    if not opset["lowest"] <= graph.opset <= opset["highest"]:
        problems.append(f"opset: expected {opset['lowest']} to {opset['highest']}; got {graph.opset}")
    if graph.model.ir_version > opset["ir"]:
        problems.append(f"IR version: expected {opset['ir']} or lower; got {graph.model.ir_version}")
    allowed = {*types["any"], *types["quantized"]}
    for item in graph.inputs:
        if item.dtype not in types["any"]:
            problems.append(f"input {item.name}: expected one of {', '.join(types['any'])}; got {item.dtype}")
    for name in graph.initializers:
        dtype = graph.values[name].dtype
        if dtype not in allowed:
            problems.append(f"weight {name}: expected one of {', '.join(sorted(allowed))}; got {dtype}")
    for node in graph.nodes:
        problems += [f"{node.name} ({node.op_type}): {line}" for line in _node_problems(graph, node)]
    return problems


def _node_problems(graph: OnnxGraph, node: Any) -> list[str]:
    limits = _limits()
    if node.domain not in ("", "ai.onnx"):
        return [f"expected a standard operator; got one of domain {node.domain}"]
    rules = limits["operators"].get(node.op_type)
    if rules is None:
        return ["expected an operator of the table engines/tensorrt_10_3.toml; got one that nobody looked up"]
    problems = []
    first = graph.values.get(node.input[0]) if node.input else None
    allowed = limits["types"][rules["types"]]
    if first is not None and first.dtype not in allowed:
        problems.append(f"expected {' or '.join(allowed)}; got {first}")
    for index in rules.get("constant", ()):
        if index < len(node.input) and node.input[index] and node.input[index] not in graph.initializers:
            problems.append(
                f"expected input {index} to be a weight; got {node.input[index]}, which is computed"
            )
    if len([name for name in node.output if name]) > rules.get("outputs", 99):
        problems.append(f"expected {rules['outputs']} output; got {len(node.output)}")
    given = {attribute.name: attribute for attribute in node.attribute}
    problems += [
        f"expected no attribute {name}; got one" for name in rules.get("without", ()) if name in given
    ]
    if "zero_point" in rules and len(node.input) > 2 and not _is_zero(graph, node.input[2]):
        problems.append(f"expected a zero point of zeros or none; got {node.input[2]}")
    if "int4_blocks" in rules and first is not None and first.dtype == "int4":
        block = given["block_size"].i if "block_size" in given else 0
        if block not in rules["int4_blocks"]:
            problems.append(f"expected blocks of {rules['int4_blocks']} for INT4; got {block}")
    return problems


def _is_zero(graph: OnnxGraph, name: str) -> bool:
    """Whether a zero point holds zeros alone; stored ones are small enough to lie in the file."""
    tensor = graph.initializers.get(name)
    if tensor is None:
        return not name
    return not any(tensor.raw_data) and not any(tensor.int32_data) and not tensor.external_data
