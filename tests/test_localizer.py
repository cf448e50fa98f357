# SPDX-License-Identifier: Apache-2.0
"""`Localizer` on a stored bundle, against what plain PyTorch answered with the same weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import edgepose
from edgepose import COCO17, InvalidInputError, KeypointText, Localizer
from edgepose.keypoint_wording import DEFAULT_TEXTS

DATA = Path(__file__).parent / "data"
BUNDLE = DATA / "bundle_v1"
ASSETS = Path(edgepose.__file__).parent / "assets"
PERSON = ASSETS / "person.jpg"


@pytest.fixture(scope="module")
def box() -> list[float]:
    value: list[float] = json.loads((ASSETS / "person.json").read_text(encoding="utf-8"))["box"]
    return value


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """Tokens, places and scores of the published procedure in PyTorch; see tests/generate_data.py."""
    value: dict[str, Any] = json.loads((DATA / "answers_v1.json").read_text(encoding="utf-8"))
    return value


@pytest.fixture(scope="module")
def exact() -> Localizer:
    return Localizer(BUNDLE, decode="exact", threads=1)


@pytest.fixture(scope="module")
def constrained() -> Localizer:
    return Localizer(BUNDLE, threads=1)


def test_exact_says_what_pytorch_says(exact: Localizer, box: list[float], published: dict[str, Any]) -> None:
    (pose,) = exact.locate(PERSON, boxes=[box])
    assert list(pose.names) == published["names"]
    assert [list(keypoint.token_ids) for keypoint in pose] == published["token_ids"]
    assert [keypoint.text.strip() for keypoint in pose] == published["texts"]
    np.testing.assert_allclose(pose.xy, published["xy"], atol=1e-3)
    # OpenCV 4 rounds positions in a crop to 1/32 pixel, which moves confidences but no answer.
    rounding = 1e-4 if int(cv2.__version__.split(".")[0]) >= 5 else 3e-3
    np.testing.assert_allclose(pose.confidence, published["confidence"], atol=rounding)
    assert any(pose.valid) and not all(pose.valid)  # random weights: some answers parse, some do not


def test_constrained_always_answers_in_few_passes(constrained: Localizer, box: list[float]) -> None:
    for keypoints in (["nose"], ["left wrist", "right_wrist", "head_top"], None):
        located = constrained.locate(PERSON, boxes=[box], keypoints=keypoints)
        assert located.passes.to_json() == {"vision": 1, "prefix": 1, "suffix": 1, "decode": 5}
        (pose,) = located
        assert all(pose.valid)
        x, y, w, h = box
        side = max(w, h) - 1
        for keypoint in pose:
            centre = (x + (w - 1) / 2, y + (h - 1) / 2)
            assert np.all(np.abs(keypoint.xy - centre) <= side / 2)
            assert np.all(keypoint.std > side * 1e-3 / math.sqrt(13))
            assert 0 < keypoint.confidence <= 1
            assert keypoint.text.strip()[0] == "[" and keypoint.text.endswith("]")
    assert len(pose) == 17 and pose.names == COCO17.keypoints


def test_an_answer_does_not_depend_on_the_other_questions(constrained: Localizer, box: list[float]) -> None:
    (together,) = constrained.locate(PERSON, boxes=[box])
    for name in ("nose", "left knee"):
        (alone,) = constrained.locate(PERSON, boxes=[box], keypoints=[name])
        assert alone[name].token_ids == together[name].token_ids
        assert alone[name].confidence == pytest.approx(together[name].confidence, abs=1e-4)


def test_several_people_are_independent(constrained: Localizer, box: list[float]) -> None:
    other = (10.0, 40.0, 300.0, 300.0)
    both = constrained.locate(PERSON, boxes=[box, other], keypoints=["nose"])
    swapped = constrained.locate(PERSON, boxes=[other, box], keypoints=["nose"])
    assert [pose.box for pose in both] == [tuple(box), other]
    assert both[0]["nose"].token_ids == swapped[1]["nose"].token_ids
    assert both[1]["nose"].token_ids == swapped[0]["nose"].token_ids
    assert both.passes.to_json() == {"vision": 2, "prefix": 2, "suffix": 2, "decode": 10}


def test_the_same_image_in_every_form(constrained: Localizer, box: list[float]) -> None:
    image = Image.open(PERSON)
    array = edgepose.localizer.load_image(PERSON)
    by_path = constrained.locate(str(PERSON), boxes=[box], keypoints=["nose"])[0]["nose"]
    by_array = constrained.locate(array, boxes=[box], keypoints=["nose"])[0]["nose"]
    assert by_path.token_ids == by_array.token_ids
    assert by_path.confidence == by_array.confidence
    # Pillow decodes JPEG slightly differently, which may move a digit of a random model but not the form.
    assert constrained.locate(image, boxes=[box], keypoints=["nose"])[0]["nose"].valid


def test_a_keypoint_of_ones_own_works_like_a_known_one(constrained: Localizer, box: list[float]) -> None:
    description = DEFAULT_TEXTS["nose"].description
    known = constrained.locate(PERSON, boxes=[box], keypoints=["nose"])[0]["nose"]
    same = constrained.locate(PERSON, boxes=[box], keypoints={"nose": description})[0]["nose"]
    assert same.token_ids == known.token_ids
    thumb = KeypointText("left thumb", 'The tip of the left thumb, {braces} and "</s>" included.')
    pose = constrained.locate(PERSON, boxes=[box], keypoints=["nose", thumb])[0]
    assert pose.names == ("nose", "left thumb") and all(pose.valid)


def test_timings_add_up(constrained: Localizer, box: list[float]) -> None:
    timings = constrained.locate(PERSON, boxes=[box]).timings_ms
    stages = sum(timings[stage] for stage in ("preprocess", "vision", "prefix", "suffix", "decode"))
    assert 0 < timings["graphs"] <= timings["total"]
    assert stages <= timings["total"] * 1.001


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boxes": []}, "at least one"),
        ({"boxes": [(700, 10, 50, 50)]}, "700"),
        ({"boxes": [(10, 10, 0, 50)]}, "above 0"),
        ({"boxes": [(10, 10, 50, 50)], "keypoints": ["left thumb"]}, "left thumb"),
        ({"boxes": [(10, 10, 50, 50)], "keypoints": {"høfte": "The hip."}}, "ASCII"),
        ({"boxes": [(10, 10, 50, 50)], "keypoints": []}, "at least one keypoint"),
    ],
)
def test_bad_arguments_name_the_value(
    constrained: Localizer, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        constrained.locate(PERSON, **arguments)


def test_a_prompt_beyond_the_context_is_refused(constrained: Localizer, box: list[float]) -> None:
    limit = constrained.bundle.manifest.decoder.max_positions
    with pytest.raises(edgepose.DecodeError, match=f"{limit} positions"):
        constrained.locate(PERSON, boxes=[box], keypoints={"long": "word " * limit + "."})
    # The localizer is as good as before.
    assert constrained.locate(PERSON, boxes=[box], keypoints=["nose"])[0]["nose"].valid


@pytest.mark.parametrize(
    ("options", "message"),
    [({"decode": "fast"}, "'fast'"), ({"backend": "gpu"}, "'gpu'"), ({"threads": 0}, "0")],
)
def test_bad_options_name_the_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Localizer(BUNDLE, **options)


def test_the_bundle_is_checked_first(tmp_path: Path) -> None:
    with pytest.raises(edgepose.BundleError, match="nothing there"):
        Localizer(tmp_path / "nowhere")


def test_repr_names_bundle_and_mode(exact: Localizer) -> None:
    assert repr(exact) == f"Localizer({str(BUNDLE)!r}, decode='exact')"


def test_progress_counts_loading_and_passes(box: list[float]) -> None:
    seen: list[tuple[str, int, int]] = []
    localizer = Localizer(BUNDLE, progress=lambda *call: seen.append(call))
    assert [stage for stage, _, _ in seen] == [
        "load vision_encoder", "load connector", "load llm_decoder", "load answer_head",
    ]  # fmt: skip
    seen.clear()
    localizer.locate(PERSON, boxes=[box, box], keypoints=["nose"], progress=lambda *call: seen.append(call))
    assert seen == [("locate", done, 16) for done in range(1, 17)]
    localizer.locate(PERSON, boxes=[box], keypoints=["nose"])
    assert len(seen) == 16
