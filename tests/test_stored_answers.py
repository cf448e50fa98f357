# SPDX-License-Identifier: Apache-2.0
"""The stored TAIHRI bundle, on a base install, against the tokens that `transformers` made of its weights.

The data and its oracle are written by `generate_data.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepose
from edgepose import SMPL22, Camera, Localizer
from edgepose.verify import verify_bundle

DATA = Path(__file__).parent / "data"
BUNDLE = DATA / "bundle_v2"
PERSON = Path(edgepose.__file__).parent / "assets" / "person.jpg"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DATA / "answers_v2.json").read_text(encoding="utf-8"))
    return value


@pytest.fixture(scope="module")
def camera(stored: dict[str, Any]) -> Camera:
    return Camera(stored["focal"], stored["focal"], 320, 240, 640, 480)


def test_the_bundle_opens_and_its_graphs_are_sound() -> None:
    assert verify_bundle(BUNDLE).passed


def test_exact_tokens_are_the_stored_ones(stored: dict[str, Any], camera: Camera) -> None:
    localizer = Localizer(BUNDLE, decode="exact", max_tokens=stored["max_tokens"])
    for number, command in enumerate(stored["commands"]):
        (pose,) = localizer.ask(PERSON, command, camera=camera)
        assert list(pose.prompt_ids) == stored["prompt_ids"][number]
        assert list(pose.token_ids) == stored["token_ids"][number]
        assert pose.text == stored["texts"][number]


def test_constrained_answers_name_what_was_asked(camera: Camera) -> None:
    localizer = Localizer(BUNDLE)
    (pose,) = localizer.locate(PERSON, camera=camera)
    assert pose.names == SMPL22.keypoints and all(pose.valid)
    for values in (pose.xy, pose.std, pose.xyz, pose.xyz_std):
        assert np.isfinite(values).all()
    (pose,) = localizer.ask(PERSON, "Shake hands.", camera=camera)
    assert set(pose.names) <= set(SMPL22.keypoints) and all(pose.valid)
