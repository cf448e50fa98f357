# SPDX-License-Identifier: Apache-2.0
"""The sets that `edgepose render` writes are read as they were meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
rendering = pytest.importorskip("edgepose.training.rendering")

from edgepose.evaluation import CocoKeypoints, Scenes, evaluate, open_dataset  # noqa: E402


@pytest.fixture(scope="module")
def poses() -> Any:
    return rendering.PoseLibrary.priors()


def test_frames(poses: Any, tmp_path: Path, answering: Any) -> None:
    annotations = rendering.write_frames(
        tmp_path / "set", seed=3, count=2, poses=poses, width=160, height=120
    )
    dataset = open_dataset("rendered", annotations, annotations.parent / "images", parts=["all"])
    assert isinstance(dataset, Scenes) and len(dataset.samples) == 2
    for sample in dataset.samples:
        assert sample.labelled.any() and sample.camera is not None and sample.xyz is not None
        assert dataset.images.load(sample.image).shape == (120, 160, 3)
        seen = sample.camera.project(sample.xyz[sample.labelled])
        np.testing.assert_allclose(seen, sample.xy[sample.labelled], atol=0.2)  # both are rounded in the file
        assert (sample.xyz[sample.labelled, 2] > 0.2).all()
    found = evaluate(answering(dataset, crop=False, shift_m=(0, 0, 0.05)), dataset)
    assert found.metrics["G-MPJPE"] == pytest.approx(50)


def test_people(poses: Any, tmp_path: Path, answering: Any) -> None:
    pytest.importorskip("pycocotools")
    annotations = rendering.write_coco(tmp_path / "set", seed=4, count=2, poses=poses)
    dataset = open_dataset("rendered", annotations, annotations.parent / "images")
    assert isinstance(dataset, CocoKeypoints) and len(dataset.samples) >= 2
    for sample in dataset.samples:
        x, y, w, h = np.array(sample.box)
        inside = sample.xy[sample.labelled]
        assert (inside >= (x - 0.3 * w, y - 0.3 * h)).all() and (inside <= (x + 1.3 * w, y + 1.3 * h)).all()
    assert evaluate(answering(dataset), dataset).metrics["AP"] == pytest.approx(1)
