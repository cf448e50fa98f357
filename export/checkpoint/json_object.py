# SPDX-License-Identifier: Apache-2.0
"""Reads the JSON files of a checkpoint.

What they say is judged by those who ask for them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint.messages import first_line

__all__ = ["read_json_object"]


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON file whose top level is an object.

    Args:
        path: File to read.
        remedy: What the user can do, for the message.

    Raises:
        InvalidInputError: The file is missing, is no JSON or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"[checkpoint] expected the file {path.name}; got none in {path.parent}; {remedy}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"[checkpoint] expected {path} to be JSON; got {first_line(error)}; download the file again"
        ) from error
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"[checkpoint] expected {path} to hold a JSON object; got {type(value).__name__}; {remedy}"
        )
    return value
