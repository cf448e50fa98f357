# SPDX-License-Identifier: Apache-2.0
"""Sizes and recipes of the package's own compact models, one JSON file each.

What the numbers mean is said where they are read, in the folders of the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepose.errors import InvalidInputError

__all__ = ["MODELS", "load_nano"]

_FOLDER = Path(__file__).parent

MODELS = tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))
"""Names of the models that are described here."""


def load_nano(name: str) -> dict[str, Any]:
    """The description of a compact model.

    Raises:
        InvalidInputError: There is none of that name.
    """
    if name not in MODELS:
        raise InvalidInputError(
            f"[nano] expected the name of a compact model ({', '.join(MODELS)}); got {name!r}; use one of "
            "them"
        )
    loaded: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return loaded
