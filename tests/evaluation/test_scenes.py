# SPDX-License-Identifier: Apache-2.0
"""The 3-D form, and errors in millimetres counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.evaluation import PARTS, Scenes, evaluate
from edgepose.evaluation.samples import Answer
from edgepose.evaluation.space import answered_places
from edgepose.keypoints import H36M17
from edgepose.skeleton import SMPL22

Write = Callable[[Any], Path]


def test_published_parts() -> None:
    places = {part: [SMPL22.keypoints.index(name) for name in names] for part, names in PARTS.items()}
    assert places == {
        "left_arm": [16, 18, 20],
        "right_arm": [17, 19, 21],
        "upper_body": [16, 17, 18, 19],
        "lower_body": [1, 2, 4, 5],
        "all": list(range(22)),
    }


def test_reads_people_part_by_part(scenes_json: dict[str, Any], images: Path, write: Write) -> None:
    dataset = Scenes(write(scenes_json), images, name="egobody")
    parts = ("left_arm", "right_arm", "upper_body", "lower_body")
    assert [s.id for s in dataset.samples] == [f"{n}/{part}" for n in (70, 71) for part in parts]
    arm = dataset.samples[0]
    assert arm.keypoints == ("left_shoulder", "left_elbow", "left_wrist")
    assert arm.labelled.tolist() == [True] * 3
    assert arm.occluded is not None and arm.occluded.tolist() == [False, False, True]
    assert arm.camera == Camera(60, 60, 32, 24, 64, 48)
    assert arm.xyz is not None
    np.testing.assert_allclose(arm.camera.project(arm.xyz), arm.xy)
    right = dataset.samples[1]
    assert right.labelled.tolist() == [True, True, False]
    assert right.xyz is not None and np.isnan(right.xyz[2]).all() and np.isnan(right.xy[2]).all()


def test_people_may_name_their_parts_and_the_caller_may_choose(
    scenes_json: dict[str, Any], images: Path, write: Write
) -> None:
    scenes_json["annotations"][0]["parts"] = ["upper_body"]
    for name in ("left_hip", "right_hip", "left_knee", "right_knee"):
        del scenes_json["annotations"][1]["joints"][name]
    del scenes_json["annotations"][1]["id"]
    dataset = Scenes(write(scenes_json), images, parts=["upper_body", "lower_body"])
    assert [sample.id for sample in dataset.samples] == ["70/upper_body", "1/upper_body"]
    everything = Scenes(write(scenes_json), images, parts=["all"])
    assert [sample.id for sample in everything.samples] == ["1"]  # the first asks for its upper body alone
    assert everything.samples[0].keypoints == SMPL22.keypoints


def test_a_constant_error_is_global_and_not_aligned(
    scenes_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    dataset = Scenes(write(scenes_json), images, parts=["left_arm", "upper_body", "all"])
    perfect = evaluate(answering(dataset, crop=False), dataset)
    assert {v for n, v in perfect.metrics.items() if n.startswith("G-MPJPE")} == {0.0}
    assert perfect.metrics["answered"] == 1.0
    found = evaluate(answering(dataset, crop=False, shift_m=(0, 0.03, 0.04), shift=(3, 4)), dataset)
    assert found.metrics["G-MPJPE"] == pytest.approx(50)
    assert found.metrics["G-MPJPE left arm"] == pytest.approx(50)
    rows = found.measures.tables[0].rows
    for part in ("all asked", "left_arm", "upper_body", "all"):
        assert rows[part]["global"] == pytest.approx(50) and rows[part]["median"] == pytest.approx(50)
        assert rows[part]["depth"] == pytest.approx(40)
        assert rows[part]["aligned"] == pytest.approx(0, abs=1e-6)
        assert rows[part]["px"] == pytest.approx(5)
    assert rows["all"]["PA"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(rows["left_arm"]["PA"])  # three joints fit anything
    assert rows["left_arm"]["joints"] == 6 and rows["all"]["joints"] == 42
    places = found.measures.tables[2].rows
    assert places["1 to 1.75 m"]["joints"] == places["1.75 to 2.5 m"]["joints"] == 3 + 4 + 21
    assert "0 to 1 m" not in places
    assert places["hidden joints"]["joints"] == 4
    assert found.calibration["space"].within_1 == pytest.approx(1 / 3)  # 0, 30 and 40 mm of 21 mm
    assert found.calibration["space"].within_2 == 1.0
    assert found.measures.score == "mean error, mm"


def test_commands_are_asked_with_words(
    scenes_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    dataset = Scenes(
        write(scenes_json),
        images,
        parts=["left_arm", "upper_body"],
        commands={"left_arm": "Take the left hand."},
    )
    assert dataset.options == {"command left_arm": "Take the left hand."}
    model = answering(dataset, crop=False)
    assert evaluate(model, dataset).metrics["answered"] == 1.0
    assert [call.get("command") for call in model.calls] == ["Take the left hand.", None] * 2
    assert model.calls[0]["camera"] == Camera(60, 60, 32, 24, 64, 48)
    with pytest.raises(InvalidInputError, match="parts among left_arm; got 'leg'"):
        Scenes(write(scenes_json), images, parts=["left_arm"], commands={"leg": "Kick."})


def test_what_is_not_answered_is_counted(scenes_json: dict[str, Any], images: Path, write: Write) -> None:
    dataset = Scenes(write(scenes_json), images, parts=["left_arm"])
    answers = []
    for sample in dataset.samples:
        assert sample.xyz is not None
        points = [
            {"name": name, "xy": sample.xy[k].tolist(), "xyz": (sample.xyz[k] + (0.01, 0, 0)).tolist()}
            for k, name in enumerate(sample.keypoints)
        ]
        answers.append(Answer.from_json(points[:2], sample.keypoints, 1.0))
    measures = dataset.measure(dataset.samples, answers)
    assert measures.metrics["G-MPJPE"] == pytest.approx(10)
    assert measures.metrics["answered"] == pytest.approx(2 / 3)
    assert measures.tables[1].rows["left_wrist"]["answered"] == 0.0
    assert np.isinf(measures.scores).all()


def h36m(scenes: dict[str, Any]) -> dict[str, Any]:
    """The scenes with the joints of Human3.6M."""
    for person in scenes["annotations"]:
        joints = list(person["joints"].values())
        person["joints"] = {name: {**joints[k], "visible": 2} for k, name in enumerate(H36M17.keypoints)}
    return scenes


def test_human36m_is_aligned_at_the_root(
    scenes_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    dataset = Scenes(write(h36m(scenes_json)), images, name="h36m")
    assert [sample.id for sample in dataset.samples] == ["70", "71"]
    assert dataset.samples[0].keypoints == H36M17.keypoints
    found = evaluate(answering(dataset, crop=False, shift_m=(0.5, 0, 0)), dataset)
    assert found.metrics == pytest.approx({"MPJPE": 0, "PA-MPJPE": 0, "answered": 1}, abs=1e-6)


def test_human36m_drops_the_published_sequences(
    scenes_json: dict[str, Any], images: Path, write: Write
) -> None:
    (images / "a.png").rename(images / "s_09_act_05_subact_02_ca_01_000001.png")
    scenes_json["images"][0]["file_name"] = "s_09_act_05_subact_02_ca_01_000001.png"
    dataset = Scenes(write(h36m(scenes_json)), images, name="h36m")
    assert [sample.id for sample in dataset.samples] == ["71"]
    assert "1 people of the three sequences" in dataset.notes[1]


def test_depths_become_places_as_published(scenes_json: dict[str, Any], images: Path, write: Write) -> None:
    dataset = Scenes(write(h36m(scenes_json)), images, name="h36m")
    sample = dataset.samples[0]
    assert sample.xyz is not None
    depth = 1000 * (sample.xyz[:, 2] - sample.xyz[0, 2])
    depth[0] = 77.0  # of the root, which is set to 0
    points = [
        {"name": name, "xy": sample.xy[k].tolist(), "depth": float(depth[k]), "depth_std": 5.0}
        for k, name in enumerate(sample.keypoints)
    ]
    answer = Answer.from_json(points, sample.keypoints, 1.0)
    np.testing.assert_allclose(answered_places(sample, answer), sample.xyz, atol=1e-9)
    assert dataset.measure([sample], [answer]).metrics["MPJPE"] == pytest.approx(0, abs=1e-6)
    in_pixels = Answer.from_json([{**p, "depth": None} for p in points], sample.keypoints, 1.0)
    assert np.isnan(answered_places(sample, in_pixels)).all()
    flat = dataset.measure([sample], [in_pixels])
    assert np.isnan(flat.metrics["MPJPE"]) and flat.metrics["answered"] == 1.0
    assert flat.score == "mean error, px"
    np.testing.assert_allclose(flat.scores, 0, atol=1e-9)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images", 0, "fx"), "wide", "image 0, fx. expected numbers"),
        (("images", 0, "fx"), -1, "camera"),
        (("images", 0, "width"), 64.5, "image 0, width. expected a whole number"),
        (("annotations", 0, "image_id"), 9, "annotation 70, image_id"),
        (("annotations", 0, "bbox"), None, "annotation 70, bbox"),
        (("annotations", 0, "joints"), [], "annotation 70, joints. expected an object"),
        (("annotations", 0, "joints", "left_wrist"), [1], "joint 'left_wrist'. expected an object"),
        (("annotations", 0, "joints", "left_wrist", "xyz"), [0, 0], r"'left_wrist', xyz. .*shape \(3,\)"),
        (("annotations", 0, "joints", "left_wrist", "xyz", 2), float("nan"), "finite numbers"),
        (("annotations", 0, "parts"), "left_arm", "annotation 70, parts"),
        (("annotations", 0, "id"), 71, "expected each id once"),
    ],
)
def test_refuses_damaged_annotations(
    path: tuple[Any, ...], value: Any, message: str, scenes_json: dict[str, Any], images: Path, write: Write
) -> None:
    target: Any = scenes_json
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(InvalidInputError, match=message):
        Scenes(write(scenes_json), images)


def test_refuses_other_joints_and_parts(scenes_json: dict[str, Any], images: Path, write: Write) -> None:
    for parts in (["arm"], [], ["all", "all"]):
        with pytest.raises(InvalidInputError, match="parts"):
            Scenes(write(scenes_json), images, parts=parts)
    for person in scenes_json["annotations"]:
        person["joints"] = {"tail": person["joints"]["pelvis"]}
    with pytest.raises(InvalidInputError, match="check the names of the joints"):
        Scenes(write(scenes_json), images)
