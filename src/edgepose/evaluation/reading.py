# SPDX-License-Identifier: Apache-2.0
"""Annotation files: JSON and its numbers, refused with the place where they are wrong.

What annotations mean does not belong here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.records import shorten

__all__ = ["digest", "field_of", "numbers", "objects", "read_bytes", "read_json", "whole", "wrong"]


def wrong(where: str, expected: str, got: object, remedy: str) -> InvalidInputError:
    """The error to raise."""
    return InvalidInputError(f"[{where}] expected {expected}; got {shorten(got)}; {remedy}")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of an annotation file.

    Raises:
        InvalidInputError: it cannot be read, or is empty.
    """
    where = Path(path)
    try:
        data = where.read_bytes()
    except (OSError, ValueError) as error:
        reason = "a directory" if where.is_dir() else getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(
            f"[annotations] expected a readable file; got {str(where)!r}: {reason}; check the path"
        ) from error
    if not data:
        raise InvalidInputError(
            f"[annotations] expected annotations; got {str(where)!r}, which is empty; copy it again"
        )
    return data


def read_json(path: str | os.PathLike[str], data: bytes) -> Any:
    """The value of a JSON file's content; `path` is for messages.

    Raises:
        InvalidInputError: it is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"[annotations] expected JSON; got {os.fspath(path)!r}: {error}; check that this is the file of "
            "annotations, in the form of the data set"
        ) from error


def digest(data: bytes) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """`value[name]`, or `value` itself where `name` is empty, as a list of JSON objects.

    Raises:
        InvalidInputError: it is another thing, or empty.
    """
    where = f"annotations, {name!r}" if name else "annotations"
    found = (value.get(name) if isinstance(value, dict) else None) if name else value
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise wrong(where, "a list of objects", found, "check that the file has the form of the data set")
    if not found:
        raise wrong(where, "at least one object", found, "check that the file is whole")
    return found


def field_of(item: dict[str, Any], name: str, where: str) -> Any:
    """`item[name]`.

    Raises:
        InvalidInputError: there is no such field.
    """
    if name not in item:
        raise wrong(where, f"a field {name!r}", sorted(item), "check that the file has this data set's form")
    return item[name]


def numbers(value: Any, shape: tuple[int, ...], where: str, *, finite: bool = True) -> NDArray[np.float64]:
    """A JSON value as an array.

    Args:
        value: number, or nested lists of numbers.
        shape: what it must have; -1 for any length.
        where: in the file, for messages.
        finite: refuse NaN and infinity.

    Raises:
        InvalidInputError: another shape, or something that is not a number.
    """
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise wrong(where, "numbers", value, "mend the annotation") from error
    fits = found.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, found.shape, strict=True)
    )
    if not fits or any(isinstance(item, (bool, str)) for item in np.ravel(np.array(value, dtype=object))):
        raise wrong(where, f"numbers of shape {shape}", value, "mend the annotation")
    if finite and not np.isfinite(found).all():
        raise wrong(where, "finite numbers", value, "mend the annotation")
    return found


def whole(value: Any, where: str) -> int:
    """A JSON value as a whole number.

    Raises:
        InvalidInputError: it is another thing.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise wrong(where, "a whole number", value, "mend the annotation")
    if value != int(value):
        raise wrong(where, "a whole number", value, "mend the annotation")
    return int(value)
