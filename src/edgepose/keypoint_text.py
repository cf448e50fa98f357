# SPDX-License-Identifier: Apache-2.0
"""What a model is told about one keypoint, and what it cannot be told.

The texts themselves do not belong here: see `edgepose.keypoint_wording`. Nor do prompts: a bundle says how a
description becomes a question to its model.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.errors import InvalidInputError

__all__ = ["KeypointText", "check_name", "check_text"]


def check_name(name: object) -> str:
    """The name, if it can be one of a keypoint.

    Raises:
        InvalidInputError: it is no text, empty, not printable ASCII or padded with blanks.
    """
    if not isinstance(name, str):
        raise InvalidInputError(
            f"[keypoints] expected a keypoint name as str or a KeypointText; got {name!r} "
            f"({type(name).__name__}); pass the name itself"
        )
    if not name or name != name.strip() or not name.isascii() or not name.isprintable():
        raise InvalidInputError(
            "[keypoints] expected a name of printable ASCII characters without blanks at its ends; "
            f"got {name!r}; spell the name in plain letters and put the rest into the description"
        )
    return name


def check_text(what: str, name: str, text: object) -> str:
    """The text, if a keypoint may be told by it; `what` says which text of keypoint `name`.

    Raises:
        InvalidInputError: it is no text, empty, or holds a line break or another control character.
    """
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise InvalidInputError(
            f"[keypoints] expected the {what} of {name!r} to be one line of text; got {text!r}; "
            "write it as one sentence without line breaks"
        )
    return text


@dataclass(frozen=True, slots=True)
class KeypointText:
    """What the model is told about one keypoint.

    Raises:
        InvalidInputError: the name is empty, not printable ASCII or padded with blanks; the description is
            empty; a text holds a line break or another control character.
    """

    name: str
    """Name as the model reads it, printable ASCII, for example `left wrist`."""

    description: str
    """One sentence on where the keypoint lies, on one line."""

    question: str | None = None
    """A question of its own, for prompt formats that ask one; `asked` makes one up where it is None."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_text("description", self.name, self.description)
        if self.question is not None:
            check_text("question", self.name, self.question)

    @property
    def asked(self) -> str:
        """The question, or one generated from the name."""
        if self.question is not None:
            return self.question
        return f"Which image coordinates does the {self.name} of this person have?"
