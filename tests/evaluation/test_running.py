# SPDX-License-Identifier: Apache-2.0
"""Asking, keeping answers, going on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepose.errors import InvalidInputError
from edgepose.evaluation import Scenes, evaluate, open_dataset
from edgepose.evaluation.mpii import Mpii

Write = Callable[[Any], Path]


@pytest.fixture
def people(images: Path, write: Write) -> Mpii:
    """Four people: two on a.png, one on b.png, one on c.png."""
    records = [
        {
            "image": f"{name}.png",
            "center": [30.0, 20.0],
            "scale": 0.2 + 0.01 * number,
            "joints": [[10 + number + k, 20 + k] for k in range(16)],
            "joints_vis": [1] * 16,
        }
        for number, name in enumerate("aabc")
    ]
    return Mpii(write(records), images)


def without_times(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != "milliseconds"}


def test_people_of_an_image_are_asked_about_together(people: Mpii, answering: Any) -> None:
    model, seen = answering(people), []
    found = evaluate(model, people, progress=lambda *step: seen.append(step))
    assert [len(call["boxes"]) for call in model.calls] == [2, 1, 1]
    assert seen == [("people", 0, 4), ("people", 2, 4), ("people", 3, 4), ("people", 4, 4)]
    assert found.milliseconds == {"median": 5.0, "p90": 5.0, "mean": 5.0}
    assert found.system["bundle"] == "one" and found.system["precision"] == "fp32"
    assert "Evaluation('mpii', 4 samples, PCKh@0.5 1" in repr(found)


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_an_interrupted_run_goes_on(calls: int, people: Mpii, answering: Any, tmp_path: Path) -> None:
    whole = evaluate(answering(people, shift=(1, 0)), people).to_json()
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        evaluate(answering(people, shift=(1, 0), stop_after=calls), people, out=out)
    model = answering(people, shift=(1, 0))
    found = evaluate(model, people, out=out)
    assert len(model.calls) == 3 - calls
    assert without_times(found.to_json()) == without_times(whole)
    model = answering(people, shift=(1, 0))
    assert evaluate(model, people, out=out).metrics == found.metrics and model.calls == []


def test_more_people_are_added_and_restart_forgets(people: Mpii, answering: Any, tmp_path: Path) -> None:
    first, second, third = (answering(people) for _ in range(3))
    evaluate(first, people, out=tmp_path, limit=2)
    evaluate(second, people, out=tmp_path, limit=3)
    assert (len(first.calls), len(second.calls)) == (1, 1)
    assert len(evaluate(third, people, out=tmp_path, restart=True).samples) == 4
    assert len(third.calls) == 3


def test_a_line_that_was_cut_short_is_asked_again(people: Mpii, answering: Any, tmp_path: Path) -> None:
    whole = evaluate(answering(people), people, out=tmp_path).to_json()
    log = tmp_path / "answers.jsonl"
    data = log.read_bytes()
    log.write_bytes(data[:-7])
    model = answering(people)
    assert without_times(evaluate(model, people, out=tmp_path).to_json()) == without_times(whole)
    assert len(model.calls) == 1 and log.read_bytes() == data
    log.write_bytes(data[:5])  # not even the first line
    model = answering(people)
    evaluate(model, people, out=tmp_path)
    assert len(model.calls) == 3 and log.read_bytes() == data


def test_answers_of_something_else_are_refused(
    people: Mpii, answering: Any, tmp_path: Path, images: Path, write: Write
) -> None:
    evaluate(answering(people), people, out=tmp_path, settings={"decode": "exact"})
    with pytest.raises(InvalidInputError, match="decode 'exact' not 'constrained'.*--restart"):
        evaluate(answering(people), people, out=tmp_path, settings={"decode": "constrained"})
    with pytest.raises(InvalidInputError, match="sha256"):
        evaluate(answering(people, kind="two"), people, out=tmp_path, settings={"decode": "exact"})
    log = tmp_path / "answers.jsonl"
    for damaged in (b"[]\n", b"{}\nnot json\n", log.read_bytes() + b'{"no": "id"}\n', b"\xff\n"):
        log.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match="--restart"):
            evaluate(answering(people), people, out=tmp_path, settings={"decode": "exact"})
    records = json.loads((tmp_path / "annotations.json").read_text())
    records[0]["scale"] = 0.3
    other = Mpii(write(records), images)
    evaluate(answering(people), people, out=tmp_path / "again")
    with pytest.raises(InvalidInputError, match="annotations_sha256"):
        evaluate(answering(other), other, out=tmp_path / "again")


def test_folders_that_cannot_be(people: Mpii, answering: Any, tmp_path: Path, images: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected a folder to write to"):
        evaluate(answering(people), people, out=images / "a.png" / "inside")
    (tmp_path / "taken" / "answers.jsonl").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="expected a file that can be written"):
        evaluate(answering(people), people, out=tmp_path / "taken")
    with pytest.raises(InvalidInputError, match="limit of at least 1; got 0"):
        evaluate(answering(people), people, limit=0)


def test_models_of_whole_frames_need_cameras(people: Mpii, answering: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected a bundle that looks at one person's crop for mpii"):
        evaluate(answering(people, crop=False), people)


def test_models_of_crops_answer_scenes_in_pixels(
    scenes_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    dataset = Scenes(write(scenes_json), images, parts=["all"])
    model = answering(dataset)
    assert evaluate(model, dataset).measures.tables[0].rows["all"]["px"] == 0.0
    assert model.calls[0]["boxes"] == [(10.0, 5.0, 40.0, 40.0)] and model.calls[0]["camera"] is None


def test_data_sets_by_name(
    scenes_json: dict[str, Any], coco_json: dict[str, Any], images: Path, write: Write
) -> None:
    assert isinstance(open_dataset("rendered", write(scenes_json), images), Scenes)
    assert open_dataset("harmony4d", write(scenes_json), images, parts=["all"]).name == "harmony4d"
    with pytest.raises(InvalidInputError, match="expected one of coco, humanart, mpii"):
        open_dataset("imagenet", write(scenes_json), images)  # type: ignore[arg-type]
    for options in ({"numbers": (1, 2)}, {"box": "joints"}):
        with pytest.raises(InvalidInputError, match="for egobody; got"):
            open_dataset("egobody", write(scenes_json), images, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="expected no parts for h36m"):
        open_dataset("h36m", write(scenes_json), images, parts=["all"])
    pytest.importorskip("pycocotools")
    assert open_dataset("rendered", write(coco_json), images).name == "rendered"
    with pytest.raises(InvalidInputError, match="expected no parts for rendered"):
        open_dataset("rendered", write(coco_json), images, parts=["all"])
