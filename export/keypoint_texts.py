# SPDX-License-Identifier: Apache-2.0
"""Reads the keypoint texts a model was trained with from a file the user names.

The package's own wording is in `edgepose.keypoint_wording`; how a text becomes a prompt is in
`edgepose.export.prompts`.
"""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

from edgepose.errors import InvalidInputError

__all__ = ["load_keypoint_texts"]

_DESCRIPTIONS = "KeypointLocationDescription"
_QUESTIONS = "KeypointLocationQuestion"


def load_keypoint_texts(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Reads descriptions and questions of keypoints.

    Args:
        path: Either the authors' `datasets/constants.py`, of which only literal assignments are read and
            nothing is executed, or a JSON file of the form `{"keypoints": {name: {"description": str,
            "questions": [str]}}}` (a single `"question"` is accepted too).

    Returns:
        Keypoint name to `{"description": str}`, with `"question"`, the first question, where the file has
        one; in the order of the file.

    Raises:
        InvalidInputError: The file is missing, is neither, or lacks texts; the message lists all defects.

    Source: LocLLM `datasets/constants.py`.
    """
    file = Path(path)
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"[keypoint texts] expected a readable UTF-8 file; got {file} ({error}); name the authors' "
            "datasets/constants.py or a JSON file"
        ) from error
    entries = _from_json(file, content) if file.suffix.lower() == ".json" else _from_python(file, content)
    return _checked(file, entries)


def _from_python(file: Path, content: str) -> dict[str, Any]:
    try:
        module = ast.parse(content, filename=str(file))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"[keypoint texts] expected {file} to be Python source or to be named *.json; got {error}; name "
            "the authors' datasets/constants.py or a JSON file"
        ) from error
    found: dict[str, Any] = {}
    for statement in module.body:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign):
            targets, value = [statement.target], statement.value
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        for name in set(names) & {_DESCRIPTIONS, _QUESTIONS}:
            try:
                found[name] = ast.literal_eval(value) if value is not None else None
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
                raise InvalidInputError(
                    f"[keypoint texts] expected {name} in {file} to be a dictionary of string literals; line "
                    f"{statement.lineno} computes something, and nothing is executed; write the strings out"
                ) from error
    descriptions, questions = found.get(_DESCRIPTIONS), found.get(_QUESTIONS, {})
    if not isinstance(descriptions, dict) or not isinstance(questions, dict):
        raise InvalidInputError(
            f"[keypoint texts] expected {file} to assign dictionaries to {_DESCRIPTIONS} and {_QUESTIONS}; "
            f"got {', '.join(f'{n} = {type(v).__name__}' for n, v in found.items()) or 'neither'}; name the "
            "authors' datasets/constants.py or a JSON file"
        )
    return {
        name: {"description": text, "questions": questions.get(name)} for name, text in descriptions.items()
    }


def _from_json(file: Path, content: str) -> dict[str, Any]:
    try:
        stored = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"[keypoint texts] expected {file} to be JSON; got {error}; correct the file"
        ) from error
    keypoints = stored.get("keypoints") if isinstance(stored, dict) else None
    if not isinstance(keypoints, dict):
        raise InvalidInputError(
            f"[keypoint texts] expected {file} to hold an object keypoints from names to descriptions and "
            "questions; got "
            f"{type(keypoints).__name__ if isinstance(stored, dict) else type(stored).__name__}; write "
            '{"keypoints": {"nose": {"description": "...", "questions": ["..."]}}}'
        )
    return keypoints


def _checked(file: Path, entries: dict[str, Any]) -> dict[str, dict[str, str]]:
    texts: dict[str, dict[str, str]] = {}
    defects = [] if entries else ["no keypoint at all"]
    for name, entry in entries.items():
        fields = entry if isinstance(entry, dict) else {}
        description = fields.get("description")
        if not isinstance(name, str) or not name.strip():
            defects.append(f"a keypoint named {name!r}")
        elif not isinstance(description, str) or not description.strip():
            defects.append(f"{name}: description {description!r}")
        else:
            texts[name] = {"description": description}
        questions = fields.get("questions", fields.get("question"))
        if isinstance(questions, str):
            questions = [questions]
        if questions is None:
            continue
        first = questions[0] if isinstance(questions, (list, tuple)) and questions else None
        if not isinstance(first, str) or not first.strip():
            defects.append(f"{name}: questions {questions!r}")
        elif name in texts:
            texts[name]["question"] = first
    if defects:
        raise InvalidInputError(
            f"[keypoint texts] expected {file} to give each keypoint a name, a description and questions, "
            f"all non-empty strings; got {'; '.join(defects)}; correct these entries"
        )
    return texts
