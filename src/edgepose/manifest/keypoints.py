# SPDX-License-Identifier: Apache-2.0
"""What a bundle knows about keypoints.

Keypoint sets themselves do not belong here: see `edgepose.keypoints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgepose.errors import InvalidInputError
from edgepose.keypoint_text import KeypointText
from edgepose.keypoints import KEYPOINT_SETS
from edgepose.manifest.checks import Check

__all__ = ["KeypointTextSpec", "KeypointsSpec"]


@dataclass(frozen=True, slots=True)
class KeypointTextSpec:
    """What the prompt says about one keypoint."""

    description: str
    question: str | None = None


@dataclass(frozen=True, slots=True)
class KeypointsSpec:
    """The keypoints a bundle knows by name."""

    default: str
    """Name of the keypoint set that is located when the user names none."""
    texts: Mapping[str, KeypointTextSpec]
    """Empty where the model knows its keypoints by token."""
    source: str
    """`edgepose` for the package's own wording, else the file name the texts came from."""

    def named(self) -> dict[str, KeypointText]:
        """The texts as the user meets them.

        Raises:
            InvalidInputError: a name or text is not usable; never for the manifest of an open bundle.
        """
        return {
            name: KeypointText(name, text.description, text.question) for name, text in self.texts.items()
        }

    @property
    def summary(self) -> str:
        """In a few words."""
        known = f"{len(self.texts)} known, texts {self.source}" if self.texts else "known by token"
        return f"default {self.default}, {known}"

    def check(self, check: Check) -> None:
        """Note what does not fit."""
        known = ", ".join(KEYPOINT_SETS)
        check.expect(self.default in KEYPOINT_SETS, "keypoints.default", f"one of {known}", self.default)
        for name, text in self.texts.items():
            try:
                KeypointText(name, text.description, text.question)
            except InvalidInputError as error:
                where = f"keypoints.texts.{name}"
                check.expect(False, where, "a usable name and one-line texts", str(error))
