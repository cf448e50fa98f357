# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses from JSON values and back, with every problem listed instead of the first one raised.

What a record means, and which of its values fit together, does not belong here: see `edgepose.bundle`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

__all__ = ["read_record", "read_value", "shorten", "write_value"]

Record = TypeVar("Record")

_KINDS: dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
}


def shorten(value: object, limit: int = 80) -> str:
    """`repr(value)`, cut in the middle where it is longer than `limit` characters."""
    text = repr(value)
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def read_record(kind: type[Record], value: object, where: str, problems: list[str]) -> Record | None:
    """Build a `kind` from a JSON object; fields with a default may be left out.

    Args:
        kind: a dataclass whose fields are int, float, str, bool, object, Literal, `T | None`,
            `tuple[T, ...]`, `Mapping[str, T]`, further dataclasses, or a union of dataclasses that a Literal
            field `kind` tells apart.
        value: what `json.loads` returned.
        where: path of this value for messages, for example `decoder`; empty at the top.
        problems: one line is appended for each missing, unexpected or ill-typed field.

    Returns:
        The record, or None when something was appended to `problems`.
    """
    if not isinstance(value, dict):
        problems.append(f"{where or 'top level'}: expected an object; got {shorten(value)}")
        return None
    before = len(problems)
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(typing.cast(Any, kind))
    known = {field.name for field in fields}
    problems.extend(f"{_join(where, name)}: unexpected field" for name in sorted(set(value) - known))
    arguments: dict[str, object] = {}
    for field in fields:
        path = _join(where, field.name)
        if field.name in value:
            arguments[field.name] = read_value(hints[field.name], value[field.name], path, problems)
        elif field.default is dataclasses.MISSING:
            problems.append(f"{path}: missing")
    return kind(**arguments) if len(problems) == before else None


def read_value(kind: Any, value: object, where: str, problems: list[str]) -> Any:
    """Like `read_record`, for any type a field may have; unspecified when a problem was added."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is object or kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return read_record(typing.cast(Any, kind), value, where, problems)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in arguments):
            problems.append(
                f"{where}: expected one of {', '.join(map(repr, arguments))}; got {shorten(value)}"
            )
        return value
    if origin in (Union, types.UnionType):
        kinds = [argument for argument in arguments if argument is not type(None)]
        if value is None and len(kinds) < len(arguments):
            return None
        return (
            read_value(kinds[0], value, where, problems)
            if len(kinds) == 1
            else _read_tagged(kinds, value, where, problems)
        )
    if origin is tuple:
        if not isinstance(value, list):
            problems.append(f"{where}: expected a list; got {shorten(value)}")
            return ()
        return tuple(read_value(arguments[0], v, f"{where}[{i}]", problems) for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            problems.append(f"{where}: expected an object; got {shorten(value)}")
            return {}
        return {k: read_value(arguments[1], v, _join(where, k), problems) for k, v in value.items()}
    return _read_scalar(kind, value, where, problems)


def _read_tagged(kinds: list[Any], value: object, where: str, problems: list[str]) -> Any:
    """Reads one of several dataclasses, told apart by what their field `kind` allows."""
    if not isinstance(value, dict):
        problems.append(f"{where}: expected an object; got {shorten(value)}")
        return None
    tags = {tag: kind for kind in kinds for tag in typing.get_args(typing.get_type_hints(kind)["kind"])}
    said = value.get("kind")
    if not isinstance(said, str) or said not in tags:
        got = (
            "missing"
            if "kind" not in value
            else f"expected one of {', '.join(map(repr, tags))}; got {shorten(said)}"
        )
        problems.append(f"{_join(where, 'kind')}: {got}")
        return None
    return read_record(tags[said], value, where, problems)


def _read_scalar(kind: Any, value: object, where: str, problems: list[str]) -> object:
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        problems.append(f"{where}: expected {_KINDS[kind]}; got {shorten(value)}")
    return value


def write_value(value: object) -> Any:
    """The JSON value of a record, a mapping, a sequence or a scalar; fields that hold their default are left
    out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: write_value(item) for field, item in named if item != field.default}
    if isinstance(value, Mapping):
        return {str(name): write_value(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [write_value(item) for item in value]
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
