# SPDX-License-Identifier: Apache-2.0
"""Leeds Sports Pose: boxes, torsos, ranges, and PCK counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.errors import InvalidInputError
from edgepose.evaluation import LSP14, LeedsSports, evaluate, joints_box
from edgepose.keypoint_wording import DEFAULT_TEXTS

RIGHT_HIP, LEFT_HIP, RIGHT_SHOULDER, LEFT_SHOULDER = 2, 3, 8, 9


@pytest.fixture
def joints() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Four people; the torso of the first is 10 px, of the second by the other diagonal 20 px; the third has
    none, the fourth no visible joint."""
    generator = np.random.default_rng(0)
    value = np.ones((4, 14, 3), np.float32)
    value[..., :2] = generator.uniform(10, 40, (4, 14, 2))
    value[:2, RIGHT_HIP, :2], value[0, LEFT_SHOULDER, :2] = (20, 20), (26, 28)
    value[1, LEFT_SHOULDER] = 0
    value[1, LEFT_HIP, :2], value[1, RIGHT_SHOULDER, :2] = (10, 30), (30, 30)
    value[2, [RIGHT_HIP, RIGHT_SHOULDER]] = 0
    value[3] = 0
    return value


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, suffix in ((1, "png"), (2, "jpg"), (3, "webp"), (4, "png")):
        noise = np.random.default_rng(number).integers(0, 255, (50, 60, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"im{number:05d}.{suffix}"), noise)
    return folder


@pytest.fixture
def annotations(joints: np.ndarray[Any, Any], tmp_path: Path) -> Path:
    np.save(tmp_path / "joints.npy", joints)
    return tmp_path / "joints.npy"


def test_names_are_known_to_models() -> None:
    assert set(LSP14.keypoints) <= set(DEFAULT_TEXTS)


def test_box_of_joints() -> None:
    xy = np.array([[10.0, 20.0], [np.nan, np.nan], [30.0, 60.0]])
    assert joints_box(xy) == (6.0, 16.0, 29.0, 49.0)  # 4 px, a tenth of 40, on each side; far pixels included
    assert joints_box(xy - (8, 18))[:2] == (0.0, 0.0)


def test_reads_people(annotations: Path, photographs: Path) -> None:
    dataset = LeedsSports(annotations, photographs)
    assert [sample.id for sample in dataset.samples] == ["00001", "00002", "00003"]
    assert [sample.image for sample in dataset.samples] == ["im00001.png", "im00002.jpg", "im00003.webp"]
    sizes = [sample.size for sample in dataset.samples]
    np.testing.assert_allclose(sizes, [10, 20, np.nan])
    assert dataset.samples[1].labelled.sum() == 13
    assert dataset.options == {"box": "joints"}
    assert "3 with visible joints, 2 with a torso" in dataset.notes[0]
    chosen = LeedsSports(annotations, photographs, numbers=(2, 3), box="photograph")
    assert [sample.id for sample in chosen.samples] == ["00002", "00003"]
    assert chosen.samples[0].box is None


def test_pck_by_hand(annotations: Path, photographs: Path, answering: Any) -> None:
    dataset = LeedsSports(annotations, photographs)
    assert evaluate(answering(dataset), dataset).metrics == {"PCK@0.2": 1.0, "PCK@0.1": 1.0}
    # 3 px: 0.2 of 20 px holds it, 0.2 of 10 px does not. The first has 14 joints, the second 13.
    found = evaluate(answering(dataset, shift=(3, 0)), dataset)
    assert found.metrics["PCK@0.2"] == pytest.approx(13 / 27) and found.metrics["PCK@0.1"] == 0.0
    assert found.measures.tables[0].rows["left shoulder"]["PCK@0.2"] == 0.0
    np.testing.assert_allclose(found.measures.scores, [0.3, 0.15, np.nan])


def test_whole_photographs_are_boxes(annotations: Path, photographs: Path, answering: Any) -> None:
    dataset = LeedsSports(annotations, photographs, box="photograph")
    model = answering(dataset)
    with pytest.raises(ValueError, match="not enough values"):  # the stand-in knows no box of theirs
        evaluate(model, dataset)
    assert model.calls[0]["boxes"] == [(0.0, 0.0, 60.0, 50.0)]


def test_refuses_what_it_cannot_read(
    annotations: Path, photographs: Path, joints: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    for numbers in ((0, 2), (3, 2), (1, 5)):
        with pytest.raises(InvalidInputError, match="within 1-4; got"):
            LeedsSports(annotations, photographs, numbers=numbers)
    with pytest.raises(InvalidInputError, match="joints or photograph"):
        LeedsSports(annotations, photographs, box="person")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="expected visible joints in photographs 4-4"):
        LeedsSports(annotations, photographs, numbers=(4, 4))
    (photographs / "im00002.jpg").unlink()
    with pytest.raises(InvalidInputError, match=r"im00002\.png"):
        LeedsSports(annotations, photographs)
    path = tmp_path / "wrong.npy"
    for value, message in (
        (joints[:, :13], r"\(N, 14, 3\); got \(4, 13, 3\)"),
        (joints.astype(str), "expected numbers"),
    ):
        np.save(path, value)
        with pytest.raises(InvalidInputError, match=message):
            LeedsSports(path, photographs)
    joints[0, 0, 0] = np.nan
    np.save(path, joints)
    with pytest.raises(InvalidInputError, match="lsp, person 1. expected finite"):
        LeedsSports(path, photographs)
    path.write_bytes(b"\x93NUMPY not")
    with pytest.raises(InvalidInputError, match="expected a NumPy array"):
        LeedsSports(path, photographs)


def test_reads_the_photographs_for_validation(shared_data: Path) -> None:
    folder = shared_data / "lspet"
    dataset = LeedsSports(folder / "joints.npy", folder / "images.zip", numbers=(9001, 9010))
    assert len(dataset.samples) == 10
    for sample in dataset.samples:
        height, width = dataset.images.load(sample.image).shape[:2]
        inside = sample.xy[sample.labelled]
        assert (inside >= -1).all() and (inside <= (width, height)).all()
