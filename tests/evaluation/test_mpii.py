# SPDX-License-Identifier: Apache-2.0
"""MPII: the square that is cut, the head size, and PCKh counted by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepose
from edgepose import Localizer
from edgepose.crop import SquareCrop
from edgepose.errors import InvalidInputError
from edgepose.evaluation import Mpii, evaluate, mpii_square
from edgepose.images import load_image
from edgepose.keypoints import MPII16

Write = Callable[[Any], Path]
NECK, HEAD_TOP = 8, 9


@pytest.fixture
def records() -> list[dict[str, Any]]:
    """Two people on a.png, one on b.png. Neck and head top are 8 px apart: a head size of 6 px."""
    people = []
    for number, image in enumerate(("a.png", "b.png", "a.png")):
        generator = np.random.default_rng(number)
        joints = generator.uniform(5, 40, (16, 2))
        joints[NECK], joints[HEAD_TOP] = (20, 20 + number), (20, 12 + number)
        people.append(
            {
                "image": image,
                "center": [30.0, 20.0 + number],
                "scale": 0.2,
                "joints": joints.tolist(),
                "joints_vis": [1] * 16,
            }
        )
    people[1]["joints_vis"][0] = 0
    people[1]["joints"][0] = [-1, -1]
    return people


def test_published_square() -> None:
    square = mpii_square((966.0, 340.0), 4.718488)
    # Counted with the formulas of the specification: c.y += 15 s; s *= 1.25; c -= 1; side = 200 s.
    assert square.side == pytest.approx(200 * 1.25 * 4.718488, abs=1e-3)
    assert (square.center_x, square.center_y) == pytest.approx((965.0, 340 + 15 * 4.718488 - 1), abs=1e-4)
    nobody = mpii_square((-1, -1), 2.0)
    assert (nobody.center_x, nobody.center_y, nobody.side) == (-2, -2, 400)


def test_square_is_cut_as_it_is_beyond_the_image() -> None:
    square = mpii_square((5.0, 5.0), 0.1)
    assert SquareCrop.around(square, (10, 10), 2.0) is square
    x, y, width, height = square.box
    assert (width, height) == (square.side, square.side) and x < 0
    image = np.full((10, 10, 3), 200, np.uint8)
    crop = square.warp(image, 50)
    assert crop[0, 0].tolist() == [0, 0, 0] and crop[25, 25].tolist() == [200, 200, 200]
    for bad in ((math.nan, 0, 1), (0, 0, 0), (0, 0, -1), (0, math.inf, 1)):
        with pytest.raises(InvalidInputError, match="a side above 0"):
            SquareCrop(*bad)


def test_square_is_what_the_localizer_cuts() -> None:
    assets = Path(edgepose.__file__).parent / "assets"
    image, box = assets / "person.jpg", json.loads((assets / "person.json").read_text())["box"]
    height, width = load_image(image).shape[:2]
    square = SquareCrop.from_box(box, (width, height))
    localizer = Localizer(Path(__file__).resolve().parents[1] / "data" / "bundle_v1", threads=1)
    by_box, by_square = localizer.locate(image, boxes=[box, square], keypoints=["nose", "left hip"])
    np.testing.assert_array_equal(by_square.xy, by_box.xy)
    assert by_square.box == square.box and by_box.box == tuple(box)


def test_reads_people(records: list[dict[str, Any]], images: Path, write: Write) -> None:
    dataset = Mpii(write(records), images)
    assert [sample.id for sample in dataset.samples] == ["0", "2", "1"]
    first, _, last = dataset.samples
    np.testing.assert_allclose(first.xy[NECK], (19, 19))  # annotations count from 1
    assert first.size == pytest.approx(6)
    assert first.keypoints == MPII16.keypoints
    assert not last.labelled[0] and np.isnan(last.xy[0]).all()
    box = first.box
    assert isinstance(box, SquareCrop)
    assert (box.center_x, box.center_y, box.side) == pytest.approx((29, 22, 50))


def test_head_size_of_a_head_box_and_of_nothing(
    records: list[dict[str, Any]], images: Path, write: Write
) -> None:
    records[0]["head_box"] = [10, 10, 13, 14]
    records[1]["joints_vis"][HEAD_TOP] = 0
    dataset = Mpii(write(records), images)
    sizes = {sample.id: sample.size for sample in dataset.samples}
    assert sizes["0"] == pytest.approx(0.6 * 5) and sizes["2"] == pytest.approx(6)
    assert math.isnan(sizes["1"])
    assert dataset.notes[0].startswith("Head size of 1 people from their head box, of 1 from the distance")
    assert dataset.notes[0].endswith("1 have neither and do not count.")


def test_perfect_and_shifted_answers(
    records: list[dict[str, Any]], images: Path, write: Write, answering: Any
) -> None:
    dataset = Mpii(write(records), images)
    assert set(evaluate(answering(dataset), dataset).metrics.values()) == {1.0}
    near = evaluate(answering(dataset, shift=(2.9, 0)), dataset)  # 0.5 and 0.1 of 6 px are 3 and 0.6 px
    assert near.metrics == {
        "PCKh@0.5": 1.0,
        "PCKh@0.5 with head": 1.0,
        "PCKh@0.1": 0.0,
        "PCKh@0.1 with head": 0.0,
    }
    np.testing.assert_allclose(near.measures.scores, 2.9 / 6)
    assert set(evaluate(answering(dataset, shift=(3.1, 0)), dataset).metrics.values()) == {0.0}


def test_joints_are_masked_as_published(
    records: list[dict[str, Any]], images: Path, write: Write, answering: Any
) -> None:
    from edgepose.evaluation.samples import Answer

    dataset = Mpii(write(records), images)
    answers = []
    for sample in dataset.samples:
        xy = np.nan_to_num(sample.xy, nan=0.0)
        xy[6:10] += 50  # pelvis, thorax, neck, head top
        xy[15] += 50  # left wrist
        points = [{"name": n, "xy": p.tolist()} for n, p in zip(MPII16.keypoints, xy, strict=True)]
        answers.append(Answer.from_json(points, sample.keypoints, 1.0))
    measures = dataset.measure(dataset.samples, answers)
    # 12 limb joints of three people, one not labelled: 35, of which three wrists are wrong.
    assert measures.metrics["PCKh@0.5"] == pytest.approx(32 / 35)
    # With neck and head top 6 more count, all wrong.
    assert measures.metrics["PCKh@0.5 with head"] == pytest.approx(32 / 41)
    rows = measures.tables[0].rows
    assert rows["wrist"]["PCKh@0.5"] == 0.5 and rows["head"]["PCKh@0.5"] == 0.0
    assert rows["ankle"]["PCKh@0.5"] == 1.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("joints", [[0, 0]] * 15, r"record 0, joints. expected numbers of shape \(16, 2\)"),
        ("joints", [[0, math.inf]] * 16, "record 0, joints. expected finite numbers"),
        ("center", [1], "record 0, center"),
        ("scale", 0, "record 0, scale. expected a number above 0"),
        ("image", "gone.png", "expected an image 'gone.png'"),
        ("head_box", [1, 2], "record 0, head_box"),
    ],
)
def test_refuses_damaged_records(
    name: str, value: Any, message: str, records: list[dict[str, Any]], images: Path, write: Write
) -> None:
    records[0][name] = value
    with pytest.raises(InvalidInputError, match=message):
        Mpii(write(records), images)
    del records[0]["joints_vis"], records[0][name]
    with pytest.raises(InvalidInputError, match="expected a field"):
        Mpii(write(records), images)
    with pytest.raises(InvalidInputError, match="expected a list of objects"):
        Mpii(write({"annotations": records}), images)


def test_published_samples_show_the_head_box(shared_data: Path) -> None:
    """The distance of the head joints over 0.8 is the diagonal of a box of whole pixels around the middle."""
    folder = shared_data / "mpii"
    dataset = Mpii(folder / "test_mpii.json", folder)
    assert len(dataset.samples) == 5
    for record in json.loads((folder / "test_mpii.json").read_text()):
        ends = np.array(record["joints"])[[NECK, HEAD_TOP]]
        squared = float(((ends[0] - ends[1]) ** 2).sum()) / 0.64
        assert squared == pytest.approx(round(squared), abs=0.03)
        # A side is odd where the middle lies between two pixels.
        odd = [round(2 * middle) % 2 for middle in ends.mean(axis=0)]
        sides = [
            (w, h)
            for w in range(1, math.isqrt(round(squared)) + 1)
            if (h := math.isqrt(round(squared) - w * w)) ** 2 == round(squared) - w * w
        ]
        assert any([w % 2, h % 2] == odd for w, h in sides)
    for sample in dataset.samples:
        height, width = dataset.images.load(sample.image).shape[:2]
        inside = sample.xy[sample.labelled]
        assert (inside >= -1).all() and (inside <= (width, height)).all()
