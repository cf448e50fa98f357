# SPDX-License-Identifier: Apache-2.0
"""People on small images, annotations of them, and localizers that answer without a model."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.crop import SquareCrop
from edgepose.evaluation import Dataset, Sample
from edgepose.keypoint import Keypoint
from edgepose.keypoints import COCO17
from edgepose.pose import Pose
from edgepose.results import Localization
from edgepose.skeleton import SMPL22

WIDTH, HEIGHT = 64, 48


class Answering:
    """Answers with the truth of a data set, moved by `shift`; counts its calls.

    Args:
        dataset: whose truth is told.
        shift: added to every pixel.
        shift_m: added to every place in metres.
        crop: whether it looks at crops, and is given boxes.
        stop_after: calls after which it is interrupted.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        shift: Sequence[float] = (0.0, 0.0),
        shift_m: Sequence[float] = (0.0, 0.0, 0.0),
        crop: bool = True,
        stop_after: int | None = None,
        kind: str = "one",
    ) -> None:
        manifest = types.SimpleNamespace(
            crop=object() if crop else None,
            family="fake",
            precision=types.SimpleNamespace(name="fp32"),
            to_json=lambda: {"kind": kind},
        )
        self.bundle = types.SimpleNamespace(manifest=manifest, path=Path("bundles") / kind)
        self.engines: str | None = None
        self.calls: list[dict[str, Any]] = []
        self._dataset = dataset
        self._shift, self._shift_m = np.array(shift, float), np.array(shift_m, float)
        self._stop_after = stop_after

    def locate(
        self, image: NDArray[np.uint8], *, boxes: Any = None, keypoints: Any = None, camera: Any = None
    ) -> Localization:
        return self._answer({"image": image, "boxes": boxes, "keypoints": keypoints, "camera": camera})

    def ask(self, image: NDArray[np.uint8], command: str, *, camera: Any = None) -> Localization:
        return self._answer({"image": image, "command": command, "camera": camera, "boxes": None})

    def _answer(self, call: dict[str, Any]) -> Localization:
        if self._stop_after is not None and len(self.calls) >= self._stop_after:
            raise KeyboardInterrupt
        self.calls.append(call)
        samples = [
            s
            for s in self._dataset.samples
            if np.array_equal(self._dataset.images.load(s.image), call["image"])
        ]
        if "command" in call:
            samples = [s for s in samples if s.command == call["command"]]
        else:
            samples = [s for s in samples if list(s.keypoints) == call["keypoints"]]
        if call["boxes"] is None:
            (sample,) = samples
            return Localization([self._pose(sample)], timings_ms={"total": 5.0})
        poses = []
        for box in call["boxes"]:
            (sample,) = [s for s in samples if _same(s.box, box)]
            poses.append(self._pose(sample))
        return Localization(poses, timings_ms={"total": 5.0 * len(poses)})

    def _pose(self, sample: Sample) -> Pose:
        points = []
        for k, name in enumerate(sample.keypoints):
            xyz = np.full(3, np.nan) if sample.xyz is None else sample.xyz[k] + self._shift_m
            points.append(
                Keypoint(
                    name.replace("_", " ") if name != "head_top" else name,
                    np.nan_to_num(sample.xy[k] + self._shift, nan=1.0),
                    0.5 + 0.01 * k,
                    std=np.full(2, 1.5),
                    xyz=xyz,
                    xyz_std=np.full(3, 0.021) if sample.xyz is not None else np.full(3, np.nan),
                )
            )
        box = (0.0, 0.0, 1.0, 1.0)
        return Pose(box, tuple(points))


def _same(a: Any, b: Any) -> bool:
    return (
        a is b
        if isinstance(a, SquareCrop) or isinstance(b, SquareCrop) or a is None
        else tuple(a) == tuple(b)
    )


@pytest.fixture
def answering() -> type[Answering]:
    return Answering


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three noisy images: a.png, b.png, c.png, 64x48."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{name}.png"), noise)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a value as JSON and returns the path."""

    def to_file(value: Any) -> Path:
        path = tmp_path / "annotations.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return to_file


@pytest.fixture
def coco_json() -> dict[str, Any]:
    """Two people on a.png, one on b.png, and on b.png also one without keypoints and a crowd."""
    generator = np.random.default_rng(5)

    def person(number: int, image: int, labelled: bool = True, **more: Any) -> dict[str, Any]:
        left, top = 4 + 8 * (number % 5), 3
        points = np.zeros((17, 3))
        if labelled:
            points[:, 0] = left + generator.uniform(0, 20, 17)
            points[:, 1] = top + generator.uniform(0, 40, 17)
            points[:, 2] = generator.integers(1, 3, 17)
            points[3] = 0
        return {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [left, top, 20, 40],
            "area": 560.0,
            "num_keypoints": 16 if labelled else 0,
            "keypoints": points.ravel().tolist(),
            **more,
        }

    return {
        "images": [
            {"id": 10 + n, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
            for n, name in enumerate("abc")
        ],
        "annotations": [
            person(1, 10),
            person(2, 11),
            person(3, 10),
            person(4, 11, labelled=False),
            person(5, 11, iscrowd=1),
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": [n.replace(" ", "_") for n in COCO17.keypoints]}
        ],
    }


@pytest.fixture
def scenes_json() -> dict[str, Any]:
    """One person each on two images, 22 joints, some 1.3 m and 2.1 m away, one wrist hidden, one outside."""
    camera = {"fx": 60.0, "fy": 60.0, "cx": 32.0, "cy": 24.0}
    value: dict[str, Any] = {"images": [], "annotations": []}
    for number, far in enumerate((1.3, 2.1)):
        value["images"].append(
            {"id": number, "file_name": f"{'ab'[number]}.png", "width": WIDTH, "height": HEIGHT, **camera}
        )
        generator = np.random.default_rng(number)
        joints = {}
        for name in SMPL22.keypoints:
            xyz = generator.uniform(-0.2, 0.2, 3) + (0, 0, far)
            xy = xyz[:2] / xyz[2] * 60 + (32, 24)
            joints[name] = {"xy": xy.tolist(), "xyz": xyz.tolist(), "visible": 2}
        joints["left_wrist"]["visible"] = 1
        joints["right_wrist"]["visible"] = 0
        value["annotations"].append(
            {"id": 70 + number, "image_id": number, "bbox": [10, 5, 40, 40], "joints": joints}
        )
    return value


@pytest.fixture
def numbers_of() -> Callable[[Mapping[str, float]], dict[str, float]]:
    """Figures rounded, to compare."""
    return lambda values: {name: round(float(value), 6) for name, value in values.items()}
