# SPDX-License-Identifier: Apache-2.0
"""What a user may say about a checkpoint that its files do not: the options of an export.

What follows from an option is decided by the part of a family that takes it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgepose.errors import InvalidInputError

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """Options that some families take and others do not; None for what was not said."""

    keypoint_texts: str | os.PathLike[str] | None = None
    """File with the texts that keypoints were described with in training."""
    prompt_format: str | None = None
    """Name of the prompt that the checkpoint was trained with."""
    crop: int | None = None
    """Sides of the scaled frame longer than this are cut, pixels."""
    answer_layout: str | os.PathLike[str] | None = None
    """How answers are set: a name, an example, or a file with one."""

    def refuse_others(self, taken: Collection[str], family: str) -> None:
        """Checks that nothing was said that a family has no use for.

        Raises:
            InvalidInputError: An option outside `taken` was given.
        """
        useless = [name for name in self._given() if name not in taken]
        if useless:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(taken))
            got = ", ".join(f"--{name.replace('_', '-')} {getattr(self, name)}" for name in useless)
            raise InvalidInputError(
                f"[export] expected no other options for {family} than {options}; got {got}; leave out what "
                "another family is asked for"
            )

    def to_json(self) -> dict[str, object]:
        """What was said, without the place of files on this machine."""
        written: dict[str, object] = {name: getattr(self, name) for name in self._given()}
        for name in ("keypoint_texts", "answer_layout"):
            if name in written:
                written[name] = Path(str(written[name])).name
        return written

    def _given(self) -> list[str]:
        return [field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None]
