# SPDX-License-Identifier: Apache-2.0
"""`edgepose track`: options in, lines of JSON, a clip and a summary out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

import edgepose
from edgepose.cli import main
from edgepose.images import load_image
from edgepose.video import FrameReader

DATA = Path(__file__).parent / "data"
PERSON = Path(edgepose.__file__).parent / "assets" / "person.jpg"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["track", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small frames, two of them alike."""
    root = tmp_path_factory.mktemp("frames")
    image = cv2.resize(load_image(PERSON), (160, 120), interpolation=cv2.INTER_AREA)
    for number, frame in enumerate((image, image, np.roll(image, 2, axis=1))):
        cv2.imwrite(str(root / f"{number}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return root


def test_lines_clip_and_summary(folder: Path, tmp_path: Path) -> None:
    lines, clip = tmp_path / "poses.jsonl", tmp_path / "poses.mp4"
    options = ("--bundle", DATA / "bundle_v1", "--box", "50,10,60,100", "--keypoints", "nose,neck")
    result = run(folder, *options, "--threads", "1", "--json", lines, "--draw", clip, "--fps", "10")
    assert result.exit_code == 0, result.output
    frames = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [frame["frame"] for frame in frames] == [0, 1, 2]
    assert [frame["seconds"] for frame in frames] == [
        0,
        pytest.approx(1 / 30, abs=1e-6),
        pytest.approx(2 / 30, abs=1e-6),
    ]
    assert frames[0]["drafts"] == {"offered": 0, "accepted": 0, "free": 12}
    assert frames[1]["drafts"] == {"offered": 12, "accepted": 12, "free": 12}
    assert frames[1]["passes"]["decode"] == 0
    assert [point["name"] for point in frames[2]["poses"][0]["keypoints"]] == ["nose", "neck"]
    with FrameReader(clip) as written:
        assert written.size == (640, 480) and written.fps == pytest.approx(10)
        assert len(list(written)) == 3
    summary = result.output.splitlines()
    assert summary[0] == "frames  3, 3 people in all"
    assert summary[1].startswith("drafts  ") and " of 36 tokens accepted (" in summary[1]
    assert summary[2].startswith("passes  prefix 1.0  suffix 1.0  decode ")
    assert summary[3].startswith("time    ") and summary[3].endswith(" ms a frame (median)")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["poses.jsonl", "poses.mp4"]


def test_a_command_and_a_limit(folder: Path) -> None:
    options = ("--bundle", DATA / "bundle_v2", "--fx", "150", "--threads", "1", "--json", "-", "--trace")
    result = run(folder, "--command", "Shake hands.", "--limit", "2", *options)
    assert result.exit_code == 0, result.output
    one, two = (json.loads(line) for line in result.stdout.splitlines())
    assert one["poses"][0]["token_ids"] == two["poses"][0]["token_ids"]
    assert two["passes"]["decode"] == 0
    assert result.stderr.startswith("frames  2, 2 people in all\n")  # JSON alone is on standard output


def test_without_box_the_whole_image_is_the_first(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "--bundle", DATA / "bundle_v1", "--keypoints", "nose", "--limit", "1", "--json", "-")
    assert json.loads(result.stdout)["poses"][0]["box"] == [0, 0, 160, 120]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--draw", "clip.png"], 2, "'clip.png' has no suffix of a clip; use .mp4 or .avi"),
        (["--draw", "no/where.mp4"], 2, "no directory 'no'"),
        (["--json", "no/where.jsonl"], 2, "no directory 'no'"),
        (["--command", "Wave.", "--box", "1,2,3,4"], 2, "given beside --box, --keypoints or --describe"),
        (["--describe", "thumb"], 2, "'thumb' is not name=description"),
        (["--limit", "0"], 2, "0 is not in the range"),
        (["--fps", "0"], 2, "0"),
        (["--fx", "100"], 1, "[camera] expected none for a "),
        (["--command", "Wave."], 1, "expected a bundle that takes commands"),
    ],
)
def test_refusals(folder: Path, arguments: list[str], status: int, message: str) -> None:
    result = run(folder, "--bundle", DATA / "bundle_v1", *arguments)
    assert result.exit_code == status, result.output
    assert message in result.stderr and "Traceback" not in result.output


def test_sources_that_are_none(tmp_path: Path) -> None:
    result = run("absent.mp4", "--bundle", DATA / "bundle_v1")
    assert result.exit_code == 1 and "error: [frames]" in result.stderr


def test_an_interrupted_camera_leaves_whole_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = FrameReader.__iter__

    def interrupted(self: FrameReader) -> Any:
        yield from list(frames(self))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr(FrameReader, "__iter__", interrupted)
    clip = tmp_path / "clip.avi"
    result = run(folder, "--bundle", DATA / "bundle_v1", "--keypoints", "nose", "--draw", clip)
    assert result.exit_code == 0 and result.output.startswith("frames  2, 2 people")
    monkeypatch.undo()
    assert len(list(FrameReader(clip))) == 2
