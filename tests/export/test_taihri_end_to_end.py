# SPDX-License-Identifier: Apache-2.0
"""TAIHRI from checkpoint to answers on photographs: the tokens of `transformers`' greedy generation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

import edgepose  # noqa: E402
from edgepose import Camera, Localizer  # noqa: E402
from edgepose.export import export_bundle  # noqa: E402
from edgepose.export.random_checkpoint import QWEN3_VL_SIZES, write_random_checkpoint  # noqa: E402

from ..taihri_oracle import TaihriOracle, focal_frame  # noqa: E402

PERSON = Path(edgepose.__file__).parent / "assets" / "person.jpg"
COMMANDS = (
    "Give the person a big hug.",
    "Could you tell me the coordinates of right wrist and left wrist?",
    "  Où est sa main gauche?\n",
)
WIDTHS = (320, 480, 250, 700)
"""Widths to which photographs are scaled, pixels."""


def camera_of(image: Image.Image, focal: float) -> Camera:
    return Camera(focal, focal, image.width / 2, image.height / 2, image.width, image.height)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = dataclasses.replace(QWEN3_VL_SIZES["small"], tied=request.param, vocabulary=1500)
    folder = tmp_path_factory.mktemp("checkpoint")
    return write_random_checkpoint(folder, family="taihri", size=size, dtype="float32", seed=3)


@pytest.fixture(scope="module")
def oracle(checkpoint: Path) -> TaihriOracle:
    return TaihriOracle(checkpoint)


@pytest.fixture(scope="module")
def localizer(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Localizer:
    bundle = tmp_path_factory.mktemp("exported") / "bundle"
    export_bundle(family="taihri", checkpoint=checkpoint, out=bundle)
    return Localizer(bundle, decode="exact", max_tokens=40)


def compare(
    localizer: Localizer, oracle: TaihriOracle, image: Image.Image, focal: float, command: str
) -> list[int]:
    frame = focal_frame(image, focal)
    (pose,) = localizer.ask(image, command, camera=camera_of(image, focal))
    assert list(pose.prompt_ids) == oracle.inputs(frame, command)["input_ids"][0].tolist()
    assert list(pose.token_ids) == oracle.answer(frame, command, 40)
    return list(pose.token_ids)


@pytest.mark.parametrize("width", [640, 250])
def test_exact_answers_are_those_of_greedy_generation(
    localizer: Localizer, oracle: TaihriOracle, width: int
) -> None:
    with Image.open(PERSON) as opened:
        image = opened.convert("RGB")
    focal = 1000 * image.width / width
    answers = [compare(localizer, oracle, image, focal, command) for command in COMMANDS]
    assert len(set(map(tuple, answers))) == len(COMMANDS)


def test_exact_answers_on_photographs_of_many_shapes(
    localizer: Localizer, oracle: TaihriOracle, shared_data: Path
) -> None:
    answers = []
    paths = [
        path for name in ("coco", "mpii", "humanart") for path in sorted((shared_data / name).rglob("*.jpg"))
    ]
    assert len(paths) > 8
    for number, path in enumerate(paths):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        if number % 3 == 2:
            image = image.crop((0, 0, image.width, image.height // 3))
        focal = 1000 * image.width / WIDTHS[number % len(WIDTHS)]
        answers.append(compare(localizer, oracle, image, focal, COMMANDS[number % len(COMMANDS)]))
    assert len(set(map(tuple, answers))) == len(answers)


def test_asking_for_joints_asks_the_published_question(localizer: Localizer, oracle: TaihriOracle) -> None:
    with Image.open(PERSON) as opened:
        image = opened.convert("RGB")
    focal = 1000 * image.width / 300
    frame = focal_frame(image, focal)
    (pose,) = localizer.locate(
        image, keypoints=["left_shoulder", "left_wrist"], camera=camera_of(image, focal)
    )
    question = (
        "Can you provide the 2D and 3D coordinates of the following keypoints of the person: "
        "left_shoulder, left_wrist?"
    )
    assert list(pose.prompt_ids) == oracle.inputs(frame, question)["input_ids"][0].tolist()
    assert list(pose.token_ids) == oracle.answer(frame, question, 40)


def test_crops_are_the_published_ones(checkpoint: Path, oracle: TaihriOracle, tmp_path: Path) -> None:
    export_bundle(family="taihri", checkpoint=checkpoint, out=tmp_path / "bundle", crop=400)
    localizer = Localizer(tmp_path / "bundle", decode="exact", max_tokens=40)
    with Image.open(PERSON) as opened:
        image = opened.convert("RGB")
    focal = 1000 * image.width / 611
    frame = focal_frame(image, focal, 400)
    assert frame.size == (400, 400)
    (pose,) = localizer.ask(image, COMMANDS[0], camera=camera_of(image, focal))
    assert list(pose.prompt_ids) == oracle.inputs(frame, COMMANDS[0])["input_ids"][0].tolist()
    assert list(pose.token_ids) == oracle.answer(frame, COMMANDS[0], 40)


@pytest.mark.parametrize("precision", ["fp16", "int4", "int4-fp16"])
def test_every_precision_answers_in_the_form(taihri_checkpoint: Path, tmp_path: Path, precision: str) -> None:
    export_bundle(family="taihri", checkpoint=taihri_checkpoint, out=tmp_path / "bundle", precision=precision)
    with Image.open(PERSON) as opened:
        image = opened.convert("RGB")
    camera = camera_of(image, 1000 * image.width / 250)
    (pose,) = Localizer(tmp_path / "bundle").locate(image, keypoints=["head", "left_wrist"], camera=camera)
    assert pose.names == ("head", "left_wrist") and all(pose.valid)
    for values in (pose.xy, pose.std, pose.xyz, pose.xyz_std):
        assert np.isfinite(values).all()
    assert np.all(np.abs(pose.xyz[:, :2]) <= 2.5) and np.all((pose.xyz[:, 2] >= 0) & (pose.xyz[:, 2] <= 4))
