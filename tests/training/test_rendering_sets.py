# SPDX-License-Identifier: Apache-2.0
"""Sets on disk: pycocotools reads them, cameras and joints in them agree, the command writes them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner
from PIL import Image

from edgepose.cli import main
from edgepose.errors import InvalidInputError
from edgepose.keypoints import COCO17
from edgepose.skeleton import SMPL22
from edgepose.training.rendering import PoseLibrary, write_clip, write_coco, write_frames


@pytest.fixture(scope="module")
def coco_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("sets") / "coco", seed=3, count=4, poses=PoseLibrary.priors())


@pytest.fixture(scope="module")
def frame_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(
        tmp_path_factory.mktemp("sets") / "frames",
        seed=3,
        count=4,
        poses=PoseLibrary.priors(),
        width=160,
        height=120,
        focal=(112, 225),
    )


def test_pycocotools_reads_people_and_finds_them_perfect(
    coco_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    truth = coco_module.COCO(str(coco_set))
    people = truth.loadAnns(truth.getAnnIds())
    assert len(truth.getImgIds()) == 4 and len(people) >= 4
    assert truth.loadCats(1)[0]["keypoints"] == [name.replace(" ", "_") for name in COCO17.keypoints]
    found = [
        {key: person[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        for person in people
        if person["num_keypoints"]
    ]
    (tmp_path / "found.json").write_text(json.dumps(found), encoding="utf-8")
    judge = evaluation.COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "keypoints")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    capsys.readouterr()
    assert judge.stats[0] == pytest.approx(1.0) and judge.stats[5] == pytest.approx(1.0)


def test_coco_annotations_are_of_their_pictures(coco_set: Path) -> None:
    content = json.loads(coco_set.read_text(encoding="utf-8"))
    sizes = {}
    for entry in content["images"]:
        with Image.open(coco_set.parent / "images" / entry["file_name"]) as picture:
            assert picture.size == (entry["width"], entry["height"]) and picture.mode == "RGB"
        sizes[entry["id"]] = (entry["width"], entry["height"])
    for person in content["annotations"]:
        width, height = sizes[person["image_id"]]
        x, y, w, h = person["bbox"]
        assert 0 <= x and 0 <= y and x + w <= width and y + h <= height
        assert 0 < person["area"] <= w * h
        points = np.array(person["keypoints"]).reshape(17, 3)
        assert person["num_keypoints"] == (points[:, 2] > 0).sum()
        assert not points[points[:, 2] == 0].any()
        assert (points[:, :2] < (width, height)).all() and (points >= 0).all()


def test_frames_carry_camera_and_metric_joints(frame_set: Path) -> None:
    content = json.loads(frame_set.read_text(encoding="utf-8"))
    images = {entry["id"]: entry for entry in content["images"]}
    assert len(images) == 4 and len(content["annotations"]) == 4
    for person in content["annotations"]:
        entry = images[person["image_id"]]
        matrix = np.array([[entry["fx"], 0, entry["cx"]], [0, entry["fy"], entry["cy"]], [0, 0, 1]])
        assert list(person["joints"]) == list(SMPL22.keypoints)
        for joint in person["joints"].values():
            assert joint["visible"] in (0, 1, 2)
            if joint["visible"]:
                point, _ = cv2.projectPoints(np.array([joint["xyz"]]), np.zeros(3), np.zeros(3), matrix, None)
                assert joint["xy"] == pytest.approx(point[0, 0], abs=0.2)


def test_a_clip_is_one_person_before_one_background(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "clip",
        seed=1,
        frames=5,
        fps=10,
        poses=PoseLibrary.priors(),
        width=160,
        height=120,
        focal=(112, 225),
    )
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["info"]["frames_per_second"] == 10 and len(content["images"]) == 5
    pictures = [
        np.asarray(Image.open(path.parent / "images" / entry["file_name"]), dtype=np.float32)
        for entry in content["images"]
    ]
    steps = [np.abs(a - b).mean(-1) for a, b in zip(pictures, pictures[1:], strict=False)]
    noise = np.median(steps)
    assert noise < 12, "most pixels show the same background"
    joints = np.array([[j["xyz"] for j in p["joints"].values()] for p in content["annotations"]])
    moved = np.linalg.norm(joints[1:] - joints[:-1], axis=-1)
    assert 0 < moved.max() < 0.4
    lengths = np.linalg.norm(joints[:, 4] - joints[:, 1], axis=-1)
    assert np.ptp(lengths) < 2e-3, "one body"


def test_same_seed_same_files(coco_set: Path, tmp_path: Path) -> None:
    again = write_coco(tmp_path / "again", seed=3, count=2, poses=PoseLibrary.priors())
    for name in ("000001.jpg", "000002.jpg"):
        first = (coco_set.parent / "images" / name).read_bytes()
        assert first == (again.parent / "images" / name).read_bytes()


def test_a_full_folder_is_refused(coco_set: Path, tmp_path: Path) -> None:
    poses = PoseLibrary.priors()
    with pytest.raises(InvalidInputError, match=r"\[render\].*new or empty"):
        write_coco(coco_set.parent, seed=0, count=1, poses=poses)
    with pytest.raises(InvalidInputError, match=r"\[render\].*got 0"):
        write_frames(tmp_path / "none", seed=0, count=0, poses=poses)
    with pytest.raises(InvalidInputError, match=r"frames per second.*-1"):
        write_clip(tmp_path / "still", seed=0, frames=1, fps=-1, poses=poses)


@pytest.mark.parametrize(
    ("form", "options", "made"),
    [
        ("coco", ["--count", "1"], "annotations.json"),
        ("frames", ["--count", "1", "--size", "96", "64", "--distance", "1", "2"], "annotations.json"),
        ("clip", ["--count", "2", "--size", "96", "64"], "annotations.json"),
    ],
)
def test_the_command_writes_sets(form: str, options: list[str], made: str, tmp_path: Path) -> None:
    out = tmp_path / form
    result = CliRunner().invoke(main, ["render", form, "--out", str(out), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.output == f"wrote {out / made}\n"
    assert len(list((out / "images").iterdir())) == int(options[1])


def test_the_command_draws_sheets_of_recorded_people(small_mocap_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    arguments = [
        "sheet",
        "--out",
        str(out),
        "--count",
        "3",
        "--mocap",
        str(small_mocap_file),
        "--subjects",
        "02",
    ]
    result = CliRunner().invoke(main, ["render", *arguments, "--priors", "0.5"], catch_exceptions=False)
    assert result.output == f"wrote {out}\n" and out.stat().st_size > 1000
    wrong = CliRunner().invoke(main, ["render", "clip", "--out", str(tmp_path / "x"), "--recording", "01_01"])
    assert wrong.exit_code == 2 and "--mocap" in wrong.output


def test_the_command_shows_recordings(small_mocap_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip"
    arguments = [
        "clip",
        "--out",
        str(out),
        "--count",
        "2",
        "--size",
        "64",
        "48",
        "--mocap",
        str(small_mocap_file),
    ]
    result = CliRunner().invoke(main, ["render", *arguments, "--recording", "02_01"], catch_exceptions=False)
    assert result.exit_code == 0 and (out / "annotations.json").is_file()
