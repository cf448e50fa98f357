# SPDX-License-Identifier: Apache-2.0
"""`edgepose eval --engines`: the figures of engines, kept apart from those of the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import edgepose
from edgepose.cli import main
from edgepose.engine import ENGINE_MANIFEST
from edgepose.file_hash import hash_file
from edgepose.keypoints import COCO17

from .bundles import bundle_of

ASSETS = Path(edgepose.__file__).parent / "assets"
BOX = [208.0, 55.0, 200.0, 385.0]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """The shipped photograph with made-up places of its person's keypoints, in COCO's form."""
    points = np.full((17, 3), 2.0)
    points[:, :2] = np.random.default_rng(3).uniform(BOX[:2], np.add(BOX[:2], BOX[2:]), (17, 2))
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": BOX, "area": 4e4}
    person |= {"num_keypoints": 17, "keypoints": points.ravel().tolist()}
    names = [name.replace(" ", "_") for name in COCO17.keypoints]
    value = {
        "images": [{"id": 1, "file_name": "person.jpg", "width": 640, "height": 480}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    file = tmp_path / "people.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def run(people: Path, out: Path, *more: str | Path) -> Result:
    told = ["eval", "--dataset", "rendered", "--annotations", people, "--images", ASSETS, "--out", out]
    told += ["--bundle", bundle_of("posellm"), "--threads", "1", *more]
    return CliRunner().invoke(main, [str(word) for word in told])


def answers(out: Path) -> tuple[dict[str, Any], list[Any]]:
    first, *lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    return first, [point["xy"] for line in lines for point in line["keypoints"]]


@pytest.mark.usefixtures("on_gpu")
def test_engines_are_measured_like_the_cpu_and_apart_from_it(
    people: Path, engines: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools")
    built = engines("posellm")
    for out, more in ((tmp_path / "cpu", []), (tmp_path / "gpu", ["--engines", built])):
        result = run(people, out, *more)
        assert result.exit_code == 0, result.output
    (cpu, expected), (gpu, found) = answers(tmp_path / "cpu"), answers(tmp_path / "gpu")
    assert len(found) == 17 and np.allclose(found, expected, atol=1e-3)
    assert gpu == {**cpu, "engines": hash_file(built / ENGINE_MANIFEST)} and "engines" not in cpu
    mixed = run(people, tmp_path / "cpu", "--engines", built)
    assert mixed.exit_code == 1 and "expected answers of the same run" in mixed.output
