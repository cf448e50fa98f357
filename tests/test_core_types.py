# SPDX-License-Identifier: Apache-2.0
"""The stub of the C++ core names exactly what the compiled module has, down to the arguments.

What the core computes is tested where it is used, and in tests/cpp.
"""

from __future__ import annotations

import ast
import importlib.resources
import re

import pytest

from edgepose import _core

STUB = ast.parse(importlib.resources.files("edgepose").joinpath("_core.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def arguments_of(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def compiled_arguments(doc: str) -> list[str]:
    """Argument names in the first signature of a pybind11 docstring: `decode(self: T, *, end: int) -> U`."""
    line = next(line for line in doc.splitlines() if "(" in line)
    return re.findall(r"[(,] ?\*{0,2}(\w+): ", line)


def test_module_has_the_names_of_the_stub() -> None:
    values = {
        node.target.id
        for node in STUB.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    functions = {node.name for node in STUB.body if isinstance(node, ast.FunctionDef)}
    assert {*CLASSES, *values, *functions} == {name for name in vars(_core) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_class_has_the_members_of_the_stub(name: str) -> None:
    node, compiled = CLASSES[name], getattr(_core, name)
    stated = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    assert {member for member in stated if member != "__init__"} == {
        member for member in vars(compiled) if not member.startswith("_")
    }
    for base in node.bases:
        assert isinstance(base, ast.Name)
        assert base.id in {parent.__name__ for parent in compiled.__mro__[1:]}
    for member, function in stated.items():
        if isinstance(vars(compiled).get(member), property):
            assert any(
                isinstance(mark, ast.Name) and mark.id == "property" for mark in function.decorator_list
            )
        else:
            assert arguments_of(function) == compiled_arguments(vars(compiled)[member].__doc__), member
