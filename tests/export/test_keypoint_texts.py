# SPDX-License-Identifier: Apache-2.0
"""Keypoint texts from the authors' source and from JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepose.errors import InvalidInputError
from edgepose.export.keypoint_texts import load_keypoint_texts

SOURCE = """
import os
COCO_KEYPOINT_NAME = ["nose", "left eye"]
KeypointLocationDescription = {
    "nose": "The tip " "in the middle.",
    "left eye": 'On the left.',
}
KeypointLocationQuestion = {
    "nose": ["Where is the nose?", "The nose?"],
    "left eye": ["Where is the left eye?"],
}
print(os.system("echo executed"))
"""
EXPECTED = {
    "nose": {"description": "The tip in the middle.", "question": "Where is the nose?"},
    "left eye": {"description": "On the left.", "question": "Where is the left eye?"},
}


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        load_keypoint_texts(path)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_python_source_is_read_and_not_executed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "constants.py"
    path.write_text(SOURCE, encoding="utf-8")
    assert load_keypoint_texts(path) == EXPECTED
    path.write_text(SOURCE.replace("Description = {", "Description: dict[str, str] = {"), encoding="utf-8")
    assert load_keypoint_texts(str(path)) == EXPECTED
    assert capfd.readouterr().out == ""


def test_json_of_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "texts.json"
    entries = {
        "nose": {
            "name": "nose",
            "description": "The tip in the middle.",
            "questions": ["Where is the nose?", "?"],
        },
        "left eye": {"description": "On the left.", "question": "Where is the left eye?"},
    }
    path.write_text(json.dumps({"_source": {}, "keypoints": entries}), encoding="utf-8")
    assert load_keypoint_texts(path) == EXPECTED


def test_questions_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "constants.py"
    path.write_text('KeypointLocationDescription = {"nose": "There."}', encoding="utf-8")
    assert load_keypoint_texts(path) == {"nose": {"description": "There."}}


def test_authors_texts(shared_data: Path) -> None:
    path = shared_data / "locllm_keypoint_texts.json"
    texts = load_keypoint_texts(path)
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert list(texts) == stored["names"] and len(texts) == 24
    assert texts["head_top"]["question"] == stored["keypoints"]["head_top"]["questions"][0]


def test_unreadable_files(tmp_path: Path) -> None:
    assert "expected a readable UTF-8 file" in refusal(tmp_path / "nowhere.json")
    assert "expected a readable UTF-8 file" in refusal(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    assert "expected a readable UTF-8 file" in refusal(tmp_path / "latin.json")
    (tmp_path / "broken.json").write_text("{")
    assert "to be JSON" in refusal(tmp_path / "broken.json")
    (tmp_path / "broken.txt").write_text("not python at all")
    assert "to be Python source or to be named *.json" in refusal(tmp_path / "broken.txt")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1", "got neither"),
        ("KeypointLocationDescription = ['nose']", "KeypointLocationDescription = list"),
        ("KeypointLocationDescription = dict(nose='There.')", "line 1 computes something"),
        ("KeypointLocationDescription = {'nose': open('/etc/passwd').read()}", "line 1 computes something"),
        ("KeypointLocationDescription = {}", "no keypoint at all"),
        ("KeypointLocationDescription = {'nose': 3, '': 'x', 'eye': ''}", "nose: description 3"),
        (
            "KeypointLocationDescription = {'nose': 'x'}\nKeypointLocationQuestion = {'nose': []}",
            "nose: questions",
        ),
    ],
)
def test_sources_of_another_form(tmp_path: Path, source: str, expected: str) -> None:
    path = tmp_path / "constants.py"
    path.write_text(source, encoding="utf-8")
    assert expected in refusal(path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "got list"),
        ({}, "got NoneType"),
        ({"keypoints": {"nose": "There."}}, "nose: description None"),
        ({"keypoints": {"nose": {"description": " "}, "eye": {}}}, "eye: description None"),
        ({"keypoints": {"nose": {"description": "x", "questions": [3]}}}, "nose: questions [3]"),
    ],
)
def test_json_of_another_form(tmp_path: Path, value: object, expected: str) -> None:
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert expected in refusal(path)
