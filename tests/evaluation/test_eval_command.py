# SPDX-License-Identifier: Apache-2.0
"""`edgepose eval` from the command line to its files, with the stored bundles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgepose.cli import main
from edgepose.evaluation import DATASETS

DATA = Path(__file__).resolve().parents[1] / "data"
PERSON, SPACE = DATA / "bundle_v1", DATA / "bundle_v2"
Write = Callable[[Any], Path]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


def told(dataset: str, annotations: Path, images: Path, bundle: Path, out: Path) -> list[str | Path]:
    names = ("--dataset", dataset, "--annotations", annotations, "--images", images, "--bundle", bundle)
    return [*names, "--out", out, "--threads", "1"]


def check(result: Result, out: Path, samples: int, metric: str) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert value["samples"] == samples and value["metrics"][metric] is not None
    assert f"{metric} " in result.output and "report.html" in result.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == min(samples, 12) and "<svg" in page
    lines = (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + samples
    return value


@pytest.mark.parametrize(("name", "people"), [("coco", 12), ("humanart", 4)])
def test_published_samples_of_coco_form(name: str, people: int, shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    folder = shared_data / name
    arguments = told(name, folder / f"test_{name}.json", folder, PERSON, tmp_path)
    first = check(run(*arguments), tmp_path, people, "AP")
    assert first["calibration"]["image"]["count"] > 100 and first["milliseconds"]["median"] > 0
    (tmp_path / "evaluation.json").unlink()
    assert (
        check(run(*arguments), tmp_path, people, "AP") == first
    )  # nothing is asked again, not even times differ


def test_published_samples_of_mpii(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "mpii"
    value = check(
        run(*told("mpii", folder / "test_mpii.json", folder, PERSON, tmp_path)), tmp_path, 5, "PCKh@0.5"
    )
    assert set(value["metrics"]) == {
        "PCKh@0.5",
        "PCKh@0.5 with head",
        "PCKh@0.1",
        "PCKh@0.1 with head",
    }


@pytest.mark.parametrize("box", ["joints", "photograph"])
def test_photographs_of_leeds(box: str, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "lspet"
    arguments = told("lsp", folder / "joints.npy", folder / "images.zip", PERSON, tmp_path)
    value = check(run(*arguments, "--range", "9001-9003", "--box", box), tmp_path, 3, "PCK@0.2")
    assert value["options"] == {"box": box} and value["worst"][0]["id"].startswith("0900")


def test_frames_in_metres(scenes_json: dict[str, Any], images: Path, write: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = told("egobody", write(scenes_json), images, SPACE, out)
    value = check(run(*arguments), out, 8, "G-MPJPE left arm")
    assert value["calibration"]["space"]["count"] > 0
    rows = value["tables"]["Parts of the body, mm"]
    assert list(rows) == ["all asked", "left_arm", "right_arm", "upper_body", "lower_body"]
    assert rows["all asked"]["answered"] == 1.0
    exact = run(*arguments, "--decode", "exact")
    assert exact.exit_code == 1 and "decode 'constrained' not 'exact'" in exact.output
    freely = run(
        *arguments,
        "--parts",
        "upper_body",
        "--command",
        "upper_body=Lift the person.",
        "--restart",
        "--json",
        "-",
    )
    assert freely.exit_code == 0, freely.output
    value = json.loads(freely.stdout)
    assert value["samples"] == 2 and value["options"] == {"command upper_body": "Lift the person."}


def test_rendered_people_of_coco_form(
    coco_json: dict[str, Any], images: Path, write: Write, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools")
    out, copy = tmp_path / "out", tmp_path / "copy.json"
    arguments = told("rendered", write(coco_json), images, PERSON, out)
    value = check(run(*arguments, "--limit", "2", "--json", copy), out, 2, "AP")
    assert json.loads(copy.read_text(encoding="utf-8")) == value


def test_people_in_boxes_of_a_frame(
    scenes_json: dict[str, Any], images: Path, write: Write, tmp_path: Path
) -> None:
    for person in scenes_json["annotations"]:
        joints = list(person["joints"].values())
        names = ("pelvis", "neck", "left knee", "right wrist", "nose")
        person["joints"] = {name: joints[k] for k, name in enumerate(names)}
    out = tmp_path / "out"
    result = run(*told("h36m", write(scenes_json), images, PERSON, out))
    value = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert result.exit_code == 0 and value["metrics"]["MPJPE"] is None  # this bundle knows no depth
    assert value["tables"]["Parts of the body, mm"]["all"]["px"] > 0


def test_failures_say_what_is_wrong(
    scenes_json: dict[str, Any], images: Path, write: Write, tmp_path: Path
) -> None:
    path, out = write(scenes_json), tmp_path / "out"
    for arguments, message in (
        (told("mpii", path, images, PERSON, out), "expected a list of objects"),
        (told("rendered", tmp_path / "no.json", images, SPACE, out), "No such file"),
        (told("rendered", path, tmp_path / "no", SPACE, out), "a folder or a ZIP archive"),
        (told("rendered", path, images, tmp_path, out), "bundle"),
        (told("lsp", path, images, PERSON, out), "expected a NumPy array"),
        ([*told("rendered", path, images, SPACE, out), "--box", "joints"], "expected no box for rendered"),
        ([*told("rendered", path, images, SPACE, out), "--parts", "tail"], "some of left_arm, right_arm"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1 and "error: [" in result.output and message in result.output, (
            result.output
        )
    for more, message in (
        (("--range", "9001"), "not a range"),
        (("--command", "Hello"), "not PART=WORDS"),
        (("--limit", "0"), "0 is not in the range"),
        (("--json", tmp_path / "no" / "file.json"), "cannot be written"),
    ):
        result = run(*told("rendered", path, images, SPACE, out), *more)
        assert result.exit_code == 2 and message in result.output
    assert not out.exists()


def test_help_names_all_data_sets() -> None:
    result = run("--help")
    assert result.exit_code == 0 and "3-D form" in result.output
    assert f"[{'|'.join(DATASETS)}]" in "".join(result.output.split())


def test_help_is_light() -> None:
    script = (
        "import sys, edgepose.cli.eval\n"
        "assert not {'cv2', 'pycocotools', 'onnxruntime', 'edgepose.evaluation'} & set(sys.modules)\n"
        "import edgepose.evaluation\n"
        "assert not {'cv2', 'pycocotools', 'matplotlib', 'onnxruntime', 'click.testing'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
