# SPDX-License-Identifier: Apache-2.0
"""The command line with a localizer, verifier and exporter that answer at once."""

from __future__ import annotations

import builtins
import dataclasses
import io
import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

import edgepose
from edgepose.cli import main
from edgepose.cli.output import json_text, write_whole
from edgepose.cli.progress import ProgressLine
from edgepose.errors import BundleError
from edgepose.keypoint_argument import resolve_keypoints
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.progress import Progress
from edgepose.results import Keypoint, Localization, Passes, Pose


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


class FakeLocalizer:
    """Puts every keypoint into the middle of its box and remembers how it was called."""

    made: dict[str, Any]
    asked: dict[str, Any]

    bundle = types.SimpleNamespace(manifest=types.SimpleNamespace(crop=object()))

    def __init__(
        self,
        bundle: str,
        *,
        engines: str | None,
        threads: int | None,
        decode: str,
        max_tokens: int | None,
        progress: Progress,
    ) -> None:
        progress("load vision_encoder", 0, 4)
        if bundle == "broken":
            raise BundleError("[bundle broken] expected a bundle; got none; make one")
        type(self).made = {"bundle": bundle, "threads": threads, "decode": decode, "max_tokens": max_tokens}

    def ask(self, image: Any, command: str, *, camera: Any, progress: Progress) -> Localization:
        progress("ask", 1, 8)
        type(self).asked = {"image": image, "command": command, "camera": camera}
        wrist = Keypoint(
            "right_wrist",
            np.array([80.0, 50.0]),
            0.25,
            std=np.ones(2),
            xyz=np.array([0.1, -0.2, 1.5]),
            xyz_std=np.array([0.01, 0.02, 0.03]),
            reprojection_error=2.5,
        )
        far = dataclasses.replace(wrist, name="left_wrist", xyz=np.array([0.1, -0.2, 4.0]), valid=False)
        silent = Keypoint("head", np.full(2, np.nan), np.nan, valid=False, metric=True)
        pose = Pose(
            (1.0, 2.0, 3.0, 4.0),
            (wrist, far, silent),
            prompt_ids=(7, 8),
            token_ids=(9,),
            text="<1><2>",
        )
        return Localization([pose], passes=Passes(1, 1, 1, 18))

    def locate(
        self, image: Any, *, boxes: Any, keypoints: Any, camera: Any, progress: Progress
    ) -> Localization:
        progress("locate", 1, 8)
        type(self).asked = {"image": image, "boxes": boxes, "keypoints": keypoints, "camera": camera}
        texts = resolve_keypoints(keypoints, texts=DEFAULT_TEXTS, default="coco17")
        poses = []
        for box in boxes:
            x, y, w, h = box
            points = [
                Keypoint(
                    t.name, np.array([x + w / 2, y + h / 2]), 0.5, std=np.array([1.0, 2.0]), token_ids=(5,)
                )
                for t in texts
            ]
            points[-1] = Keypoint(texts[-1].name, np.full(2, np.nan), 0.0, valid=False, text=" [")
            poses.append(Pose(tuple(map(float, box)), tuple(points)))
        return Localization(poses, passes=Passes(1, 1, 1, 5), timings_ms={"total": 12.0})


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(edgepose, "Localizer", FakeLocalizer)
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), np.full((100, 160, 3), 90, np.uint8))
    return path


def test_help_and_version() -> None:
    assert "Commands:" in run("--help").output
    assert f"version {edgepose.__version__}" in run("--version").output
    for command in main.commands:
        result = run(command, "-h")
        assert result.exit_code == 0 and "Usage:" in result.output


def test_locate_prints_a_table(picture: Path) -> None:
    result = run("locate", picture, "--bundle", "b", "--box", "10,20,30,40", "--box", "-5, 0, 50.5, 60")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "person 1  box (10, 20, 30, 40)  score 0.471"
    assert lines[2].split() == ["nose", "25.0", "40.0", "1.0", "2.0", "0.500"]
    assert lines[18].split() == ["right", "ankle", "not", "answered"]
    assert lines[19].startswith("person 2  box (-5, 0, 50.5, 60)")
    assert lines[-2] == "passes  vision 1  prefix 1  suffix 1  decode 5"
    assert lines[-1] == "time    12.0 ms"
    made = {"bundle": "b", "threads": None, "decode": "constrained", "max_tokens": None}
    assert FakeLocalizer.made == made
    assert FakeLocalizer.asked["keypoints"] is None and FakeLocalizer.asked["camera"] is None


def test_locate_shows_depths_where_there_are_any(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = (
        Keypoint("left eye", np.ones(2), 0.5, std=np.ones(2), depth=-24.69, depth_std=3.25, dimensions=3),
        Keypoint("neck", np.ones(2), 0.5, valid=False, dimensions=3),
    )
    located = Localization([Pose((0.0, 0.0, 9.0, 9.0), points)])
    monkeypatch.setattr(FakeLocalizer, "locate", lambda *_, **__: located)
    lines = run("locate", picture, "--bundle", "b").output.splitlines()
    assert lines[1].split()[-5:] == ["depth", "mm", "+-", "mm", "confidence"]
    assert len(lines[1]) == len(lines[2])
    assert lines[2].split() == ["left", "eye", "1.0", "1.0", "1.0", "1.0", "-24.7", "3.2", "0.500"]
    assert lines[3].split() == ["neck", "not", "answered"]
    written = json.loads(run("locate", picture, "--bundle", "b", "--json", "-").stdout)
    eye, neck = written["poses"][0]["keypoints"]
    assert (eye["depth"], eye["depth_std"]) == (-24.69, 3.25)
    assert (neck["depth"], neck["depth_std"]) == (None, None)


def test_locate_without_box_takes_the_whole_image(picture: Path) -> None:
    options = ("--decode", "exact", "--threads", "2", "--max-tokens", "40")
    assert run("locate", picture, "--bundle", "b", *options).exit_code == 0
    assert FakeLocalizer.asked["boxes"] == [(0.0, 0.0, 160, 100)]
    assert FakeLocalizer.asked["image"].shape == (100, 160, 3)
    assert FakeLocalizer.made == {"bundle": "b", "threads": 2, "decode": "exact", "max_tokens": 40}


def test_a_bundle_of_whole_frames_gets_no_box(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = types.SimpleNamespace(manifest=types.SimpleNamespace(crop=None))
    given: dict[str, Any] = {}

    def locate(_: Any, image: Any, **options: Any) -> Localization:
        given.update(options)
        return Localization()

    monkeypatch.setattr(FakeLocalizer, "bundle", frames)
    monkeypatch.setattr(FakeLocalizer, "locate", locate)
    result = run("locate", picture, "--bundle", "b", "--fx", "150", "--cx", "70")
    assert result.exit_code == 0, result.output
    assert given["boxes"] is None
    camera = given["camera"]
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.size) == (150, 150, 70, 50, (160, 100))


def test_ask_prints_places_in_metres(picture: Path, tmp_path: Path) -> None:
    calibration = tmp_path / "camera.yaml"
    calibration.write_text(
        "%YAML:1.0\n---\nimage_width: 160\nimage_height: 100\ncamera_matrix: !!opencv-matrix\n   rows: 3\n"
        "   cols: 3\n   dt: d\n   data: [ 150., 0., 80., 0., 151., 50., 0., 0., 1. ]\n"
    )
    result = run("ask", picture, "Shake my hand", "--bundle", "b", "--camera", calibration)
    assert result.exit_code == 0, result.output
    assert FakeLocalizer.asked["command"] == "Shake my hand"
    assert (FakeLocalizer.asked["camera"].fx, FakeLocalizer.asked["camera"].fy) == (150, 151)
    lines = result.output.splitlines()
    assert lines[1].split("confidence")[0].split()[-5:] == ["Y", "+-", "Z", "2D-3D", "px"]
    assert lines[2].split()[1:] == [
        *("80.0", "50.0", "1.0", "1.0", "0.100", "-0.200", "1.500"),
        *("0.010", "0.020", "0.030", "2.5", "0.250"),
    ]
    assert len(lines[1]) == len(lines[2])
    assert lines[3].endswith("0.250  at the limit of what can be said")
    assert lines[4].split() == ["head", "not", "answered"]
    traced = json.loads(
        run("ask", picture, "x", "--bundle", "b", "--fx", "9e1", "--trace", "--json", "-").stdout
    )
    (pose,) = traced["poses"]
    assert (pose["prompt_ids"], pose["token_ids"], pose["text"]) == ([7, 8], [9], "<1><2>")
    assert pose["keypoints"][0]["xyz"] == [0.1, -0.2, 1.5]
    assert pose["keypoints"][0]["xyz_std"] == [0.01, 0.02, 0.03]
    assert pose["keypoints"][2]["xyz"] == [None, None, None]


def test_locate_json_on_stdout_is_nothing_but_json(picture: Path) -> None:
    result = run("locate", picture, "--bundle", "b", "--keypoints", "left_wrist, nose", "--json", "-")
    assert result.exit_code == 0 and result.stderr == ""
    value = json.loads(result.stdout)
    assert set(value) == {"poses", "passes", "timings_ms"}
    assert value["passes"] == {"vision": 1, "prefix": 1, "suffix": 1, "decode": 5}
    first, last = value["poses"][0]["keypoints"]
    assert first == {"name": "left wrist", "xy": [80, 50], "confidence": 0.5, "std": [1, 2], "valid": True}
    assert last["xy"] == [None, None] and last["valid"] is False
    traced = json.loads(run("locate", picture, "--bundle", "b", "--trace", "--json", "-").stdout)
    assert traced["poses"][0]["keypoints"][0]["token_ids"] == [5]
    assert traced["poses"][0]["keypoints"][-1]["text"] == " ["


def test_locate_writes_json_and_picture(picture: Path, tmp_path: Path) -> None:
    json_file, drawing = tmp_path / "out.json", tmp_path / "out.jpg"
    result = run("locate", picture, "--bundle", "b", "--json", json_file, "--draw", drawing)
    assert result.exit_code == 0, result.output
    assert "person 1" in result.output
    assert len(json.loads(json_file.read_text())["poses"]) == 1
    drawn = cv2.imread(str(drawing))
    assert drawn is not None and drawn.shape == (500, 800, 3)  # small pictures are enlarged
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out.jpg", "out.json", "street.png"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--keypoints", "h36m17"], list(edgepose.H36M17.keypoints)),
        (["--describe", "left thumb=The short finger."], ["left thumb"]),
        (["--keypoints", "nose", "--describe", "left thumb = The short finger."], ["nose", "left thumb"]),
        (["--keypoints", "nose,neck", "--describe", "nose=Its tip."], ["nose", "neck"]),
        (
            ["--keypoints", "coco17", "--describe", "tail=a", "--describe", "left_ear=b = c"],
            [*("left_ear" if n == "left ear" else n for n in edgepose.COCO17.keypoints), "tail"],
        ),
    ],
)
def test_locate_selects_keypoints(picture: Path, options: list[str], names: list[str]) -> None:
    result = run("locate", picture, "--bundle", "b", *options)
    assert result.exit_code == 0, result.output
    asked = FakeLocalizer.asked["keypoints"]
    assert [item if isinstance(item, str) else item.name for item in asked] == names
    described = {item.name: item.description for item in asked if not isinstance(item, str)}
    assert described.get("left thumb", "The short finger.") == "The short finger."
    assert described.get("left_ear", "b = c") == "b = c"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--box", "1,2,3"], 2, "'1,2,3' is not four numbers x,y,w,h"),
        (["--box", "1,2,3,x"], 2, "'1,2,3,x' is not four numbers"),
        (["--decode", "greedy"], 2, "'greedy' is not one of"),
        (["--threads", "0"], 2, "0 is not in the range"),
        (["--describe", "thumb"], 2, "'thumb' is not name=description"),
        (["--describe", "=x"], 2, "printable ASCII"),
        (["--draw", "out.xyz"], 2, "'out.xyz' has no suffix of a picture format"),
        (["--draw", "no/where.png"], 2, "no directory 'no'"),
        (["--json", "no/where.json"], 2, "no directory 'no'"),
        (["--json", "."], 2, "'.' cannot be written: a directory"),
        (["--fy", "100"], 2, "missing beside --fy"),
        (["--fx", "0"], 1, "expected fx above 0, in pixels; got 0"),
        (["--fx", "-3"], 1, "expected fx above 0, in pixels; got -3"),
        (["--fx", "nan"], 1, "nan"),
        (["--fx", "4"], 1, "not millimetres"),
        (["--camera", "k.yaml", "--fx", "100"], 2, "--fx given as well"),
        (["--camera", "k.yaml"], 1, "k.yaml"),
        (["--max-tokens", "0"], 2, "0 is not in the range"),
        (["--keypoints", "tail"], 1, "error: [keypoints] expected a known keypoint"),
        (["--keypoints", ""], 1, "got ''"),
    ],
)
def test_locate_refuses(picture: Path, arguments: list[str], status: int, message: str) -> None:
    result = run("locate", picture, "--bundle", "b", *arguments)
    assert result.exit_code == status, result.output
    assert message in result.stderr and "Traceback" not in result.output


def test_expected_failures_are_one_error(picture: Path) -> None:
    result = run("locate", picture, "--bundle", "broken", "--json", "-")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: [bundle broken] expected a bundle; got none; make one\n"
    result = run("locate", "absent.jpg", "--bundle", "b")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: [image] expected a readable image file; got 'absent.jpg'")


def test_info(make_bundle: Callable[..., Path]) -> None:
    root = make_bundle()
    result = run("info", root)
    assert result.exit_code == 0, result.output
    for text in (
        "locllm",
        "version 1, made by edgepose 0.1.0",
        "int4: weights int4",
        "square crop of 28 px",
        "2 layers of 8, 4 heads (2 for keys and values)",
        "default coco17, 24 known",
        "prompt keypoint, 2-D answers of 13 tokens",
        "from seed",
        "parity vision_encoder  max_error 1e-05",
        "llm_decoder.onnx.data",
        "256 B",
    ):
        assert text in result.output
    assert json.loads(run("info", root, "--json").stdout) == json.loads((root / "bundle.json").read_text())


def test_info_lists_every_problem(make_bundle: Callable[..., Path]) -> None:
    root = make_bundle()
    (root / "connector.onnx").unlink()
    (root / "goldens.npz").write_bytes(b"")
    result = run("info", root)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: [bundle ")
    assert (
        "2 problems" in result.stderr and "connector.onnx" in result.stderr and "(truncated)" in result.stderr
    )


@dataclasses.dataclass
class FakeGraph:
    name: str
    max_error: float
    tolerance: float
    runs: tuple[str, ...] = ("sample",)

    @property
    def passed(self) -> bool:
        return self.max_error <= self.tolerance


@dataclasses.dataclass
class FakeReport:
    graphs: list[FakeGraph]
    engines: str | None = None
    runtime: str = "onnxruntime"
    runtime_version: str = "1.20"

    def notes(self) -> list[str]:
        return []

    @property
    def passed(self) -> bool:
        return all(graph.passed for graph in self.graphs)

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed}


@pytest.mark.parametrize("error", [1e-6, 0.5])
def test_verify(make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    module = types.ModuleType("edgepose.verify")

    def verify_bundle(bundle: Any, progress: Any, *, engines: str | None) -> FakeReport:
        assert engines is None
        progress("run lm_head", 1, 2)
        return FakeReport([FakeGraph("lm_head", error, 1e-3), FakeGraph("connector", 0.0, 1e-3)])

    module.verify_bundle = verify_bundle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgepose.verify", module)
    root = make_bundle()
    result = run("verify", root)
    assert result.exit_code == int(error > 1e-3)
    assert ("FAIL" in result.output) == (error > 1e-3)
    assert result.output.splitlines()[1].split()[:3] == ["lm_head", f"{error:.2e}", "1.00e-03"]
    assert "(onnxruntime 1.20)" in result.output
    machine = run("verify", root, "--json")
    assert json.loads(machine.stdout) == {"passed": error <= 1e-3} and machine.exit_code == int(error > 1e-3)
    assert run("verify", root, "--json", root.parent / "report.json").stdout == result.stdout
    assert json.loads((root.parent / "report.json").read_text()) == {"passed": error <= 1e-3}


def test_export_passes_its_options_on(
    make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    module = types.ModuleType("edgepose.export")
    module.export_bundle = lambda **options: calls.append(options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgepose.export", module)
    bundle = make_bundle()
    needed = ("--family", "locllm", "--checkpoint", "c", "--out", bundle)
    more = ("--precision", "int4-fp16", "--keypoint-texts", "t.json", "--prompt-format", "simple", "--force")
    result = run("export", *needed, *more, "--answer", "3d")
    assert result.exit_code == 0 and result.output == f"wrote {bundle}\n"
    (options,) = calls
    assert callable(options.pop("progress"))
    assert options == {
        "family": "locllm",
        "checkpoint": "c",
        "out": str(bundle),
        "precision": "int4-fp16",
        "keypoint_texts": "t.json",
        "prompt_format": "simple",
        "answer": "3d",
        "crop": None,
        "answer_layout": None,
        "calibration": None,
        "smoothing": None,
        "force": True,
    }
    assert run("export", "--family", "gpt", "--checkpoint", "c", "--out", "o").exit_code == 2
    assert run("export", *needed).exit_code == 0 and calls[1]["answer"] is None
    assert run("export", *needed, "--answer", "4d").exit_code == 2


@pytest.mark.parametrize("missing", ["torch", "edgepose.export.weights"])
def test_export_without_its_extra(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("edgepose.export"):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = run("export", "--family", "locllm", "--checkpoint", "c", "--out", "o")
    assert result.exit_code == 1
    if missing == "torch":
        assert result.stderr == (
            "error: No module named 'torch'; this command needs more packages: "
            "pip install 'edgepose[export]'\n"
        )
    else:  # a part of edgepose itself: our bug, not the user's installation
        assert isinstance(result.exception, ModuleNotFoundError)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_waits_then_draws_one_line() -> None:
    now = 0.0
    stream = Terminal()
    with ProgressLine(stream, clock=lambda: now) as progress:
        progress("hash", 1, 10)
        assert stream.getvalue() == ""
        now = 1.5
        progress("hash", 5, 10)
        progress("hash", 6, 10)  # too soon after the last
        now = 2.0
        progress("quantize", 3, 0)
    lines = stream.getvalue().split("\r\x1b[2K")
    assert lines == ["", "[" + "#" * 15 + "-" * 15 + "]  50% hash", "[" + "-" * 30 + "]   0% quantize", ""]


def test_progress_is_silent_without_a_terminal_or_in_a_short_command() -> None:
    plain, quick = io.StringIO(), Terminal()
    with ProgressLine(plain, delay=-1) as progress:
        progress("hash", 1, 2)
    with ProgressLine(quick) as progress:
        progress("hash", 1, 2)
    assert plain.getvalue() == quick.getvalue() == ""


def test_json_text_keeps_innermost_lists_on_a_line() -> None:
    value = {"a": [1.5, None], "b": [[1, 2], []], "c": [{"text": " [\n{x}"}], "d": [" [0", "b"], "e": {}}
    text = json_text(value)
    assert json.loads(text) == value
    assert '"a": [1.5, null]' in text and "[1, 2]" in text


def test_write_whole_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    target.write_bytes(b"old")

    def refuse(self: Path, _: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(Exception, match="out.json.*No space left on device"):
        write_whole(str(target), b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_module_runs_as_a_program_and_starts_light() -> None:
    code = (
        "import sys; from edgepose.cli import main; main(['--help'], standalone_mode=False); "
        "print([m for m in ('torch', 'onnx', 'transformers', 'tensorrt', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    done = subprocess.run(
        [sys.executable, "-m", "edgepose", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"edgepose, version {edgepose.__version__}\n"


def test_progress_shows_a_stage_that_began_early() -> None:
    drawn = threading.Event()

    class Watched(Terminal):
        def flush(self) -> None:
            drawn.set()

    stream = Watched()
    with ProgressLine(stream, delay=0.05) as progress:
        progress("load llm_decoder", 2, 4)
        assert drawn.wait(10)
    assert "load llm_decoder" in stream.getvalue()
