# SPDX-License-Identifier: Apache-2.0
"""COCO's form: who is asked about, and AP against pycocotools called directly."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.errors import BackendUnavailableError, EdgePoseError, InvalidInputError
from edgepose.evaluation import CocoKeypoints, evaluate
from edgepose.keypoints import COCO17

pytest.importorskip("pycocotools")

Write = Callable[[Any], Path]


def statistics(annotations: Path, results: list[dict[str, Any]]) -> list[float]:
    """What pycocotools says, used as its documentation shows."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def test_reads_people_with_keypoints(coco_json: dict[str, Any], images: Path, write: Write) -> None:
    dataset = CocoKeypoints(write(coco_json), images)
    assert [sample.id for sample in dataset.samples] == ["1", "3", "2"]  # people of an image come together
    first = dataset.samples[0]
    assert first.keypoints == COCO17.keypoints
    assert first.box == (12.0, 3.0, 20.0, 40.0)
    assert not first.labelled[3] and first.labelled.sum() == 16 and np.isnan(first.xy[3]).all()
    assert first.size == pytest.approx(560**0.5)
    assert dataset.notes == (
        "3 people with labelled keypoints in 2 images, 2 without, crowds, or boxes that hold no pixels.",
    )


def test_perfect_answers_have_an_ap_of_one(
    coco_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    coco_json["annotations"][1]["area"] = (
        20_000.0  # large; the others are small, which COCO counts in AP alone
    )
    dataset = CocoKeypoints(write(coco_json), images)
    found = evaluate(answering(dataset), dataset)
    assert {name: found.metrics[name] for name in ("AP", "AP50", "AR", "AP (L)")} == pytest.approx(
        {"AP": 1.0, "AP50": 1.0, "AR": 1.0, "AP (L)": 1.0}
    )
    assert found.metrics["AP (M)"] == -1  # nobody
    assert found.metrics["mean OKS"] == pytest.approx(1)
    np.testing.assert_allclose(found.measures.scores, 1)


@pytest.mark.parametrize("shift", [0.7, 1.6, 4.0])
def test_shifted_answers_have_the_ap_of_pycocotools(
    shift: float, coco_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    for number, person in enumerate(coco_json["annotations"]):
        person["area"] = [500.0, 2_000.0, 12_000.0, 100.0, 100.0][number]
    path = write(coco_json)
    dataset = CocoKeypoints(path, images)
    found = evaluate(answering(dataset, shift=(shift, 0.0)), dataset)
    results = [
        {
            "image_id": {"a.png": 10, "b.png": 11}[sample.image],
            "category_id": 1,
            "keypoints": np.column_stack(
                [np.nan_to_num(sample.xy + (shift, 0), nan=1.0), 0.5 + 0.01 * np.arange(17)]
            )
            .ravel()
            .tolist(),
            "score": float(np.mean(0.5 + 0.01 * np.arange(17))),
        }
        for sample in dataset.samples
    ]
    theirs = statistics(path, results)
    assert [found.metrics[name] for name in list(found.metrics)[:10]] == pytest.approx(theirs)
    assert 0 < found.metrics["AP"] < 1


def test_missed_people_cost_recall_and_left_out_ones_do_not(
    coco_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    dataset = CocoKeypoints(write(coco_json), images)
    few = evaluate(answering(dataset), dataset, limit=1)  # the others are not asked about
    assert few.metrics["AP"] == pytest.approx(1)
    for image in (11, 10):
        coco_json["annotations"][1].update(
            bbox=[500, 500, 20, 40], image_id=image
        )  # outside: nothing to look at
        dataset = CocoKeypoints(write(coco_json), images)
        assert len(dataset.samples) == 2
        assert evaluate(answering(dataset), dataset).metrics["AR"] == pytest.approx(2 / 3)


def test_a_silent_model_has_an_ap_of_zero(coco_json: dict[str, Any], images: Path, write: Write) -> None:
    from edgepose.evaluation.samples import Answer

    dataset = CocoKeypoints(write(coco_json), images)
    nothing = Answer.from_json([], COCO17.keypoints, 1.0)
    measures = dataset.measure(dataset.samples, [nothing] * 3)
    assert measures.metrics["AP"] == 0.0 and measures.metrics["mean OKS"] == 0.0
    assert measures.tables[0].rows["nose"]["OKS"] == 0.0


def test_other_people_of_the_file_may_lack_what_is_not_needed(
    coco_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    del coco_json["categories"], coco_json["images"][0]["width"], coco_json["annotations"][3]["keypoints"]
    for person in coco_json["annotations"]:
        person.pop("num_keypoints"), person.pop("category_id")
    dataset = CocoKeypoints(write(coco_json), images)
    assert evaluate(answering(dataset), dataset).metrics["AP"] == 1.0


def change(path: list[Any], value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(target: Any) -> None:
        for step in path[:-1]:
            target = target[step]
        if value is None:
            del target[path[-1]]
        else:
            target[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(["annotations"], []), r"annotations, 'annotations'\] expected at least one object"),
        (change(["annotations"], None), "expected a list of objects; got None"),
        (change(["images", 0, "id"], None), "expected a field 'id'"),
        (change(["images", 0, "file_name"], "gone.png"), "expected an image 'gone.png'"),
        (
            change(["annotations", 0, "image_id"], 99),
            "annotation 1, image_id. expected an image of the file; got 99",
        ),
        (change(["annotations", 0, "image_id"], 0.5), "expected a whole number; got 0.5"),
        (change(["annotations", 2, "id"], 1), "expected each id once; got 1"),
        (
            change(["annotations", 0, "bbox"], [1, 2, 3]),
            r"annotation 1, bbox. expected numbers of shape \(4,\)",
        ),
        (change(["annotations", 0, "bbox", 0], "x"), "annotation 1, bbox. expected numbers"),
        (
            change(["annotations", 0, "keypoints", 0], float("nan")),
            "annotation 1, keypoints. expected finite",
        ),
        (change(["annotations", 0, "keypoints"], [0] * 50), "annotation 1, keypoints"),
        (change(["annotations", 0, "area"], None), "annotation 1. expected a field 'area'"),
        (change(["annotations", 0, "area"], True), "annotation 1, area"),
        (change(["categories", 0, "keypoints"], ["nose"]), "expected the keypoints nose, left eye"),
    ],
)
def test_refuses_damaged_annotations(
    damage: Callable[[dict[str, Any]], None],
    message: str,
    coco_json: dict[str, Any],
    images: Path,
    write: Write,
) -> None:
    damage(coco_json)
    with pytest.raises(InvalidInputError, match=message):
        CocoKeypoints(write(coco_json), images)


def test_refuses_files_of_another_kind(coco_json: dict[str, Any], images: Path, write: Write) -> None:
    for text, message in (("", "which is empty"), ("{", "expected JSON"), ("[1]", "'images'")):
        with pytest.raises(InvalidInputError, match=message):
            CocoKeypoints(write(text), images)
    with pytest.raises(InvalidInputError, match="No such file"):
        CocoKeypoints("nowhere.json", images)
    with pytest.raises(InvalidInputError, match="a directory"):
        CocoKeypoints(images, images)
    nobody = copy.deepcopy(coco_json)
    nobody["annotations"] = nobody["annotations"][3:]
    with pytest.raises(InvalidInputError, match="expected people with labelled keypoints; got none among 2"):
        CocoKeypoints(write(nobody), images)


def test_says_how_to_get_pycocotools(
    coco_json: dict[str, Any], images: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("pycocotools")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'edgepose\[eval\]'") as caught:
        CocoKeypoints(write(coco_json), images)
    assert isinstance(caught.value, EdgePoseError)


@pytest.mark.parametrize(("name", "people", "photographs"), [("coco", 12, 4), ("humanart", 4, 3)])
def test_reads_the_published_samples(name: str, people: int, photographs: int, shared_data: Path) -> None:
    folder = shared_data / name
    dataset = CocoKeypoints(folder / f"test_{name}.json", folder, name=name)
    assert len(dataset.samples) == people
    assert len({sample.image for sample in dataset.samples}) == photographs
    raw = {str(a["id"]): a for a in json.loads((folder / f"test_{name}.json").read_text())["annotations"]}
    for sample in dataset.samples:
        height, width = dataset.images.load(sample.image).shape[:2]
        assert sample.labelled.sum() == raw[sample.id]["num_keypoints"]
        inside = sample.xy[sample.labelled]
        assert (inside >= -1).all() and (inside <= (width + 1, height + 1)).all()
