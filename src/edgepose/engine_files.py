# SPDX-License-Identifier: Apache-2.0
"""Files of an engine directory, before anybody knows what they mean.

What the sidecar says does not belong here: see `edgepose.engine`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepose.errors import EngineMismatchError
from edgepose.file_hash import hash_file

__all__ = ["file_problems", "load_sidecar"]

HASHED_ON_OPEN = 64 << 20
"""Bytes; larger engines are hashed by `EngineManifest.check_hashes` only."""


def load_sidecar(root: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        EngineMismatchError: there is none.
    """
    file = root / name
    if not file.is_file():
        got = "no such file" if root.is_dir() else "no such directory"
        raise EngineMismatchError(
            f"[engine {root}] expected a directory with {name}; got {got}; pass one that "
            "`edgepose build` has written"
        )
    try:
        value = json.loads(file.read_bytes().decode("utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no object at the top")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise EngineMismatchError(
            f"[engine {root}] expected {name} to be a JSON object in UTF-8; got: {error}; copy "
            "the directory again, or build the engines again"
        ) from error


def file_problems(root: Path, name: str, size: int, sha256: str) -> list[str]:
    """What is wrong with a file: missing, truncated or, up to 64 MiB, changed; empty where it is sound."""
    if Path(name).name != name:
        return [f"{name}: expected a plain file name"]
    try:
        found = (root / name).stat().st_size
        if found != size:
            short = " (truncated)" if found < size else ""
            return [f"{name}: expected {size} bytes; got {found}{short}"]
        if size <= HASHED_ON_OPEN and (got := hash_file(root / name)) != sha256:
            return [f"{name}: expected SHA-256 {sha256}; got {got} (changed since it was built)"]
    except OSError as error:
        return [f"{name}: expected {size} bytes; got: {error.strerror}"]
    return []
