# SPDX-License-Identifier: Apache-2.0
"""The models that ship with the package: they open by name and find people better than a guess."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import edgepose
from edgepose import Camera, Localizer
from edgepose.builtin import DEFAULT_MODEL, METRIC_MODEL, builtin_models, bundle_path
from edgepose.bundle import Bundle
from edgepose.cli import main
from edgepose.errors import BundleError
from edgepose.video import FrameReader

ASSETS = Path(edgepose.__file__).parent / "assets" / "demo"
LARGEST = 40e6  # bytes of all models together


def test_they_are_whole_small_and_described() -> None:
    assert builtin_models() == (DEFAULT_MODEL, METRIC_MODEL)
    total = 0
    for name in builtin_models():
        bundle = Bundle.open(name)
        bundle.check_hashes()
        total += sum(spec.bytes for spec in bundle.manifest.files.values())
        card = (bundle.path / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert all(word in card for word in ("Data", "Training", "Accuracy", "Limits"))
    assert total <= LARGEST


def test_a_path_is_never_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_path(DEFAULT_MODEL).is_dir()
    assert bundle_path(f"./{DEFAULT_MODEL}") == Path(DEFAULT_MODEL)
    assert bundle_path(Path(DEFAULT_MODEL)) == Path(DEFAULT_MODEL)
    with pytest.raises(BundleError, match=f"or the name {DEFAULT_MODEL}"):
        Bundle.open("posellm-large")


def test_people_are_found_better_than_by_their_boxes() -> None:
    """The median error is less than that of putting every keypoint into the middle of the box."""
    truth = json.loads((ASSETS / "people" / "annotations.json").read_text(encoding="utf-8"))
    people = truth["annotations"]
    image = ASSETS / "people" / "images" / truth["images"][0]["file_name"]
    located = Localizer().locate(image, boxes=[person["bbox"] for person in people])
    ours, guess = [], []
    for pose, person in zip(located, people, strict=True):
        x, y, width, height = person["bbox"]
        points = np.array(person["keypoints"], dtype=np.float64).reshape(-1, 3)
        seen = points[:, 2] == 2
        ours += np.linalg.norm(pose.xy - points[:, :2], axis=1)[seen].tolist()
        middle = np.array([x + width / 2, y + height / 2])
        guess += np.linalg.norm(middle - points[:, :2], axis=1)[seen].tolist()
    assert np.median(ours) < 0.75 * np.median(guess)


def test_joints_are_found_in_metres() -> None:
    """Nearer than a blind guess: all joints straight ahead, in the middle of the range."""
    truth = json.loads((ASSETS / "frame" / "annotations.json").read_text(encoding="utf-8"))
    (taken,), (person,) = truth["images"], truth["annotations"]
    camera = Camera(**{name: taken[name] for name in ("fx", "fy", "cx", "cy", "width", "height")})
    names = ["left_shoulder", "right_shoulder", "left_elbow", "right_elbow"]
    (pose,) = Localizer(METRIC_MODEL).locate(
        ASSETS / "frame" / "images" / taken["file_name"], keypoints=names, camera=camera
    )
    places = np.array([person["joints"][name]["xyz"] for name in names])
    guess = np.linalg.norm(places - np.array([0, 0, 1.45]), axis=1)
    assert np.median(np.linalg.norm(pose.xyz - places, axis=1)) < 0.75 * np.median(guess)
    middle = np.array([camera.width / 2, camera.height / 2])
    seen = np.array([person["joints"][name]["xy"] for name in names])
    off, blind = (np.linalg.norm(seen - each, axis=1) for each in (pose.xy, middle))
    assert np.median(off) < 0.75 * np.median(blind)


def test_demo(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    assert {file.name for file in (tmp_path / "demo").iterdir()} == {
        "people.png",
        "clip.mp4",
        "command.png",
    }
    assert "17 keypoints of 2 people" in result.output and "joints in metres; mean error" in result.output
    with FrameReader(tmp_path / "demo" / "clip.mp4") as clip:
        assert len(list(clip)) == 24
    picture = ASSETS / "people" / "images" / "000004.jpg"
    result = CliRunner().invoke(
        main, ["demo", str(picture), "--box", "100,100,200,300", "--out", str(tmp_path / "own")]
    )
    assert result.exit_code == 0 and (tmp_path / "own" / "000004.png").is_file()
    again = CliRunner().invoke(
        main, ["demo", str(tmp_path / "own" / "000004.png"), "--out", str(tmp_path / "own")]
    )
    assert again.exit_code != 0 and "would replace" in again.output
    assert CliRunner().invoke(main, ["demo", "--box", "1,1,5,5"]).exit_code != 0
