# SPDX-License-Identifier: Apache-2.0
"""Fields of `config.json`, checked one by one; every defect is in one message.

Which fields an architecture has does not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import Checkpoint

__all__ = ["Settings"]


class Settings:
    """One object of a configuration, and the defects found in it and in the objects inside it.

    A field that is wrong is noted and stands in as 1, so that reading goes on to the next; `raise_if_any`
    comes last.
    """

    def __init__(
        self, fields: Mapping[str, Any], *, where: str = "", defects: list[str] | None = None
    ) -> None:
        self.fields = fields
        self.defects: list[str] = defects if defects is not None else []
        self._where = where

    def section(self, name: str) -> Settings:
        """An object inside; an empty one after noting that there is none."""
        value = self.fields.get(name)
        if not isinstance(value, Mapping):
            self.defects.append(f"{self._where}{name} is {value!r}, not an object")
            value = {}
        return Settings(value, where=f"{self._where}{name}.", defects=self.defects)

    def optional_section(self, name: str) -> Settings:
        """An object inside; an empty one where the field is absent or null."""
        if self.fields.get(name) is None:
            return Settings({}, where=f"{self._where}{name}.", defects=self.defects)
        return self.section(name)

    def count(self, name: str, default: int | None = None) -> int:
        """A positive whole number."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.defects.append(f"{self._where}{name} is {value!r}, not a positive whole number")
            return 1
        return value

    def counts(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of whole numbers from 0."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, list) or any(type(item) is not int or item < 0 for item in value):
            self.defects.append(f"{self._where}{name} is {value!r}, not a list of whole numbers from 0")
            return ()
        return tuple(value)

    def positive(self, name: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
            self.defects.append(f"{self._where}{name} is {value!r}, not a positive number")
            return 1.0
        return float(value)

    def require(self, name: str, *allowed: object) -> None:
        """Notes a value that none of the `allowed` ones equals; None stands for a field that is absent."""
        value = self.fields.get(name)
        if value not in allowed:
            self.defects.append(f"{self._where}{name} is {value!r}; only {allowed[-1]!r} is known")

    def raise_if_any(self, checkpoint: Checkpoint, expected: str) -> None:
        """Raises one InvalidInputError for all; `expected` names the kind of model, with its article."""
        if self.defects:
            raise InvalidInputError(
                f"[weights] expected {checkpoint.config_path} to describe {expected} model; got: "
                f"{'; '.join(self.defects)}; use the config.json that belongs to the weights"
            )
