# SPDX-License-Identifier: Apache-2.0
"""The type stub of the extension against the compiled module."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import edgepose
from edgepose import _core


def find_stub() -> Path:
    for folder in edgepose.__path__:
        stub = Path(folder) / "_core.pyi"
        if stub.is_file():
            return stub
    raise FileNotFoundError("_core.pyi lies in none of edgepose's folders")


STUB = ast.parse(find_stub().read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a stub's module or class defines, imports apart."""
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
    return names


def public(names: object) -> set[str]:
    return {str(name) for name in names if not str(name).startswith("_")}  # type: ignore[attr-defined]


def test_module_and_stub_have_the_same_names() -> None:
    assert isinstance(_core, ModuleType)
    assert public(names_in(STUB.body)) == public(dir(_core))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_class_and_stub_have_the_same_members(name: str) -> None:
    kind = getattr(_core, name)
    members = names_in(CLASSES[name].body)
    assert public(members) == public(vars(kind)), name
    for member, node in members.items():
        assert isinstance(node, ast.FunctionDef)
        is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
        assert is_property == isinstance(inspect.getattr_static(kind, member), property), f"{name}.{member}"


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_class_and_stub_have_the_same_bases(name: str) -> None:
    kind = getattr(_core, name)
    bases = [base.id for base in CLASSES[name].bases if isinstance(base, ast.Name)]
    compiled = [base.__name__ for base in kind.__bases__ if not base.__name__.startswith("pybind11")]
    assert bases == [base for base in compiled if base != "object"], name


def arguments_of(node: ast.FunctionDef) -> list[str]:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument.arg for argument in given if argument.arg != "self"]


def compiled_arguments(kind: type, member: str) -> list[str] | None:
    """Names of the arguments, as pybind11 writes them into the docstring; None where it writes none."""
    text = getattr(kind, member).__doc__ or ""
    first = text.splitlines()[0] if text else ""
    if not first.startswith(f"{member}(self"):
        return None
    inside = first[first.index("(") + 1 :]
    depth, parts, part = 0, [], ""
    for char in inside:
        if char in "[(":
            depth += 1
        elif char in "])":
            if depth == 0:
                break
            depth -= 1
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    parts.append(part)
    names = [piece.split(":")[0].split("=")[0].strip() for piece in parts]
    return [name for name in names if name not in ("self", "*", "/")]


@pytest.mark.parametrize(
    ("name", "member"),
    [
        (name, member)
        for name, node in sorted(CLASSES.items())
        for member, function in names_in(node.body).items()
        if isinstance(function, ast.FunctionDef) and not function.decorator_list
    ],
)
def test_method_and_stub_have_the_same_arguments(name: str, member: str) -> None:
    function = names_in(CLASSES[name].body)[member]
    assert isinstance(function, ast.FunctionDef)
    found = compiled_arguments(getattr(_core, name), member)
    assert found is not None, f"pybind11 no longer writes the signature of {name}.{member}"
    assert arguments_of(function) == found


def test_every_class_and_error_is_described() -> None:
    for name in CLASSES:
        assert getattr(_core, name).__doc__, name
