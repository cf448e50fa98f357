# SPDX-License-Identifier: Apache-2.0
"""Files and JSON that commands write, whole or not at all.

What is written does not belong here.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import click

from edgepose.cli.failures import Failure

__all__ = ["STDOUT", "check_target", "json_text", "write_whole"]

_INNERMOST_LIST = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")

STDOUT = "-"
"""File name that means standard output."""


def check_target(target: str, option: str) -> None:
    """Refuse a file that could not be written, before the work that fills it.

    Raises:
        click.BadParameter: the directory does not exist or the name is that of a directory.
    """
    path = Path(target)
    if path.is_dir() or not path.parent.is_dir():
        got = "a directory" if path.is_dir() else f"no directory {str(path.parent)!r}"
        raise click.BadParameter(f"{target!r} cannot be written: {got}", param_hint=option)


def json_text(value: Any) -> str:
    """JSON with one line per innermost list, so that coordinates stay readable."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # Line breaks inside JSON strings are escaped, so a real one is always layout.
    return _INNERMOST_LIST.sub(lambda found: "[" + re.sub(r"\n\s*", " ", found[1]) + "]", text)


def write_whole(target: str, data: bytes) -> None:
    """Write a file through a neighbour that takes its place when complete.

    Raises:
        Failure: the system refuses.
    """
    path = Path(target)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(f"[write] expected to write {target!r}; got: {error}; choose another file") from error
