# SPDX-License-Identifier: Apache-2.0
"""Answers on disk, one JSON line a person as they come, so that a second run goes on where the first stopped.

What answers mean does not belong here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepose.errors import InvalidInputError
from edgepose.records import shorten

__all__ = ["AnswerLog", "Line"]

Line = dict[str, Any]
"""`{"id", "keypoints": Pose.to_json()["keypoints"], "ms"}`."""


class AnswerLog:
    """A JSONL file whose first line says what was asked of what; without a path, a log in memory.

    A last line that was cut short, by a machine that went down, is dropped.

    Args:
        path: of the file; made with `subject` where it does not exist.
        subject: data set, model and options; a file of another subject is refused.
        restart: throw the file away and begin anew.

    Raises:
        InvalidInputError: the file is about something else, damaged, or cannot be written.
    """

    def __init__(self, path: Path | None, subject: Mapping[str, Any], *, restart: bool = False) -> None:
        self._path = path
        self._lines: dict[str, Line] = {}
        if path is None:
            return
        try:
            data = b"" if restart or not path.exists() else path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if whole:
                self._read(whole, subject)
            else:
                whole = (json.dumps(dict(subject)) + "\n").encode()
            if whole != data:
                path.write_bytes(whole)
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def lines(self) -> Mapping[str, Line]:
        """What is answered so far, by the sample's id."""
        return self._lines

    def add(self, lines: Sequence[Line]) -> None:
        """Keep answers.

        Raises:
            InvalidInputError: they cannot be written.
        """
        self._lines.update({line["id"]: line for line in lines})
        if self._path is None:
            return
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        try:
            with self._path.open("ab") as file:
                file.write(text.encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def _read(self, data: bytes, subject: Mapping[str, Any]) -> None:
        remedy = "choose another folder, or begin anew with restart (--restart)"
        try:
            first, *lines = [json.loads(line) for line in data.splitlines()]
            self._lines = {line["id"]: line for line in lines if isinstance(line["keypoints"], list)}
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"[eval] expected answers of an earlier run in {str(self._path)!r}; got a damaged file: "
                f"{error}; {remedy}"
            ) from error
        wanted = json.loads(json.dumps(dict(subject)))
        if first != wanted:
            old = first if isinstance(first, dict) else {}
            names = [name for name in {**wanted, **old} if old.get(name) != wanted.get(name)]
            differences = ", ".join(f"{n} {shorten(old.get(n))} not {shorten(wanted.get(n))}" for n in names)
            raise InvalidInputError(
                f"[eval] expected answers of the same run in {str(self._path)!r}; got {differences}; {remedy}"
            )

    def _unwritable(self, error: OSError) -> InvalidInputError:
        return InvalidInputError(
            f"[eval] expected a file that can be written; got {str(self._path)!r}: {error}; check the folder"
        )
