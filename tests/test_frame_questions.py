# SPDX-License-Identifier: Apache-2.0
"""Questions about whole frames: what is asked, and what bins mean in pixels and metres."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose import Camera, InvalidInputError
from edgepose._core import Answer, Choice
from edgepose.bundle import BinCodecSpec, Bundle, FrameSpec
from edgepose.keypoint_text import KeypointText
from edgepose.keypoints import COCO17
from edgepose.questions.frame_questions import FrameQuestions
from edgepose.results import Keypoint, Pose
from edgepose.skeleton import SMPL22

BUNDLE = Bundle.open(Path(__file__).parent / "data" / "bundle_v2")
assert isinstance(BUNDLE.manifest.codec, BinCodecSpec)
SPEC = BUNDLE.manifest.codec
MARKERS = SPEC.markers
ARIA = Camera(600, 600, 704, 704, 1408, 1408)
"""A camera of the published demonstration."""


def questions(*, exact: bool = False, **frame: Any) -> FrameQuestions:
    """The stored bundle's, with other numbers of the frame."""
    view = BUNDLE.manifest.frame
    assert isinstance(view, FrameSpec)
    manifest = dataclasses.replace(BUNDLE.manifest, frame=dataclasses.replace(view, **frame))
    return FrameQuestions(Bundle(BUNDLE.path, manifest, BUNDLE.embeddings), SPEC, exact=exact)


def image_of(camera: Camera) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros((camera.height, camera.width, 3), np.uint8)


def say(*tokens: int, follows_form: bool = True) -> Answer:
    """An answer of these tokens, each bin certain."""
    place = {token: number for number, token in enumerate(SPEC.bins)}
    choices = [Choice(token, 0.5, 0.5, float(place.get(token, 0)), 0.0) for token in tokens]
    return Answer(choices, follows_form)


def written(
    two: dict[str, Sequence[int]],
    three: dict[str, Sequence[int]],
    box: Sequence[int] | None = (0, 0, 999, 999),
) -> list[int]:
    """Tokens of an answer without separators."""

    def block(name: str, inside: list[int]) -> list[int]:
        return [MARKERS[f"{name}_start"], *inside, MARKERS[f"{name}_end"]]

    def joints(found: dict[str, Sequence[int]]) -> list[int]:
        return [i for name, bins in found.items() for i in (SPEC.joints[name], *(SPEC.bins[b] for b in bins))]

    ids = [] if box is None else block("box", [SPEC.bins[b] for b in box])
    return [*ids, *block("kpt2d", joints(two)), *block("kpt3d", joints(three))]


def answered(
    camera: Camera,
    two: dict[str, Sequence[int]],
    three: dict[str, Sequence[int]],
    *,
    exact: bool = False,
    box: Sequence[int] | None = (0, 0, 999, 999),
    **frame: Any,
) -> Pose:
    asked = questions(exact=exact, **frame)
    (inquiry,) = asked.locate(image_of(camera), boxes=None, keypoints=list(two), camera=camera)
    return inquiry.read([say(*written(two, three, box))])


@pytest.mark.parametrize("exact", [False, True])
def test_published_vectors(exact: bool) -> None:
    # The published code takes the frame's middle for the principal point: 700 pixels from its cut at 473.
    centred = dataclasses.replace(ARIA, cx=(700 + 473) * 0.6, cy=(700 + 473) * 0.6)
    pose = answered(
        centred,
        {"left_shoulder": (261, 630), "head": (0, 0)},
        {"left_shoulder": (394, 559, 416), "head": (314, 612, 456)},
        exact=exact,
        crop=1400,
    )
    np.testing.assert_allclose(pose["left_shoulder"].xy, (503.26, 813.53), atol=0.005)
    np.testing.assert_allclose(pose["left_shoulder"].xyz, (-0.5280, 0.2978, 1.6657), atol=5e-5)
    np.testing.assert_allclose(pose["head"].xyz, (-0.9284, 0.5631, 1.8258), atol=5e-5)
    # A bin is 5.005 mm wide across and 4.004 mm deep; rounding to it spreads by the square root of 1/12.
    np.testing.assert_allclose(pose["head"].xyz_std * math.sqrt(12), (5 / 999, 5 / 999, 4 / 999), rtol=0.02)
    np.testing.assert_allclose(pose["head"].std * math.sqrt(12), 1400 / 999 * 0.6, rtol=1e-6)
    assert pose["head"].confidence == pytest.approx(0.5)
    np.testing.assert_allclose(pose.box, (473 * 0.6, 473 * 0.6, 840, 840))


def test_what_stands_at_an_end_is_not_valid_and_what_is_missing_is_nan() -> None:
    two = {"head": (5, 5), "neck": (5, 5), "pelvis": (5, 5)}
    pose = answered(ARIA, two, {"head": (5, 5, 999), "neck": (0, 5, 5)}, box=None)
    assert pose.names == ("head", "neck", "pelvis")
    assert not pose.valid.any()
    assert np.isfinite(pose["head"].xyz).all() and np.isfinite(pose["pelvis"].xy).all()
    assert np.isnan(pose["pelvis"].xyz).all() and math.isnan(pose["pelvis"].reprojection_error)
    assert all(map(math.isnan, pose.box)) and pose.box_std == ()


@pytest.mark.parametrize(
    "camera",
    [
        Camera(600, 600, 320, 240, 640, 480),
        Camera(600, 600, 290.5, 263.2, 640, 480),
        Camera(600, 640, 320, 240, 640, 480),
        Camera(900, 900, 640, 360, 1280, 720).crop(100, 50, 700, 600),
    ],
    ids=["centred", "off-centre", "oblong pixels", "cropped"],
)
@pytest.mark.parametrize("crop", [None, 600])
def test_geometry_goes_all_the_way_round(camera: Camera, crop: int | None) -> None:
    """Points are projected, written as an ideal model would, which takes the frame's middle for the axis."""
    random = np.random.default_rng(5)
    names = SMPL22.keypoints[:12]
    points = np.stack(
        [random.uniform(-0.4, 0.4, 12), random.uniform(-0.4, 0.4, 12), random.uniform(1.5, 3, 12)], 1
    )
    pixels = camera.project(points)
    scale = 1000 / np.array([camera.fx, camera.fy])
    scaled = (np.array(camera.size) * scale).astype(int)
    size = scaled if crop is None else np.minimum(scaled, crop)
    frame = pixels * scale - (scaled - size) // 2
    depth = points[:, 2]
    model = np.stack([*(depth * (frame - size / 2).T / 1000), depth], 1)
    seen = ((frame >= 0) & (frame <= size)).all(axis=1)
    assert seen.sum() > 3
    two = np.round(frame / size * 999).astype(int)
    three = np.round((model - (-2.5, -2.5, 0)) / (5, 5, 4) * 999).astype(int)
    pose = answered(
        camera,
        {name: tuple(two[i]) for i, name in enumerate(names) if seen[i]},
        {name: tuple(three[i]) for i, name in enumerate(names) if seen[i]},
        crop=crop,
    )
    half = np.array([5 / 999, 5 / 999, 4 / 999]) / 2
    lean = 0.5 * 4 / 999 / 2  # depth's rounding, carried over by a principal point half a frame away at most
    for index, name in enumerate(names):
        if seen[index]:
            assert np.all(np.abs(pose[name].xyz - points[index]) <= half + (lean, lean, 1e-9))
            assert np.all(np.abs(pose[name].xy - pixels[index]) <= size / 999 / scale / 2 + 1e-6)
            assert pose[name].reprojection_error < 3.5
            assert pose[name].valid


def test_lens_distortion_is_taken_out_and_put_back() -> None:
    plain = Camera(600, 600, 320, 240, 640, 480)
    bent = dataclasses.replace(plain, distortion=(-0.2, 0.05, 0.001, -0.001))
    two, three = {"head": (250, 300)}, {"head": (400, 450, 500)}
    straight, curved = (answered(camera, two, three)["head"] for camera in (plain, bent))
    np.testing.assert_allclose(straight.xyz, curved.xyz)
    np.testing.assert_allclose(bent.undistort_points(curved.xy), straight.xy, atol=1e-3)
    assert np.linalg.norm(curved.xy - straight.xy) > 1
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    seen = [questions().ask(image, "x", camera=camera)[0].see()["patches"] for camera in (plain, bent)]
    again = questions().ask(bent.undistort(image), "x", camera=plain)[0].see()["patches"]
    assert not np.array_equal(*seen) and np.array_equal(seen[1], again)


def test_prompt_and_grid() -> None:
    camera = Camera(600, 600, 320, 240, 640, 480)
    view = questions(max_pixels=2_007_040, min_pixels=12_544, patch_size=16)
    (inquiry,) = view.locate(
        image_of(camera), boxes=None, keypoints=["left_shoulder", "left elbow"], camera=camera
    )
    assert inquiry.image_grid == (25, 33)  # 1056 x 800 pixels
    inputs = inquiry.see()
    assert {name: array.shape[0] for name, array in inputs.items() if name in ("patches", "cos")} == {
        "patches": 3300,
        "cos": 3300,
    }
    ids = inquiry.prompt.written(0, BUNDLE.manifest.prompt.image_token)
    assert ids.count(BUNDLE.manifest.prompt.image_token) == 825
    text = BUNDLE.tokenizer.decode(
        [i for i in ids if i != BUNDLE.manifest.prompt.image_token], skip_special_tokens=False
    )
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|vision_end|>"
        "Can you provide the 2D and 3D coordinates of the following keypoints of the person: "
        "left_shoulder, left_elbow?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_an_exact_answer_may_say_more_or_less_than_was_asked() -> None:
    asked = questions(exact=True)
    (inquiry,) = asked.locate(image_of(ARIA), boxes=None, keypoints=["head", "neck"], camera=ARIA)
    ids = written({"pelvis": (1, 2), "neck": (3, 4)}, {"neck": (3, 4, 5), "pelvis": (5, 6, 7)})
    pose = inquiry.read([say(*ids, SPEC.end, follows_form=False)])
    assert pose.names == ("head", "neck", "pelvis")
    assert list(pose.valid) == [False, True, True]
    assert pose.token_ids == (*ids, SPEC.end) and pose.text.endswith("<|kpt3d_end|><|im_end|>")
    (words,) = (inquiry.read([say(*BUNDLE.tokenizer.encode("no person").ids, follows_form=False)]),)
    assert words.text == "no person" and not words.valid.any() and words.names == ("head", "neck")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"camera": None},
            r"\[camera\] expected the camera that took the image.*got none; pass camera=Camera",
        ),
        ({"camera": Camera(600, 600, 320, 240, 640, 480)}, r"\[camera\].*640x480"),
        ({"boxes": [(0, 0, 9, 9)]}, r"\[boxes\] expected none.*got \[\(0, 0, 9, 9\)\]"),
        ({"keypoints": ["left_thumb"]}, r"\[keypoints\] expected names of joints.*got 'left_thumb'"),
        ({"keypoints": COCO17}, r"got 'nose'"),
        ({"keypoints": {"head": "The head."}}, r"got 'head'"),
        ({"keypoints": [KeypointText("head", "The head.")]}, r"KeypointText"),
        ({"keypoints": ["head", "head"]}, r"expected each joint once"),
        ({"keypoints": []}, r"at least one"),
        ({"keypoints": "hands"}, r"got 'hands'"),
        ({"keypoints": 7}, r"got 7"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"boxes": None, "keypoints": None, "camera": ARIA, **arguments}
    with pytest.raises(InvalidInputError, match=message):
        questions().locate(image_of(ARIA), **given)


@pytest.mark.parametrize("command", ["", "  ", None, 3])
def test_a_command_has_words(command: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected a command in words"):
        questions().ask(image_of(ARIA), command, camera=ARIA)


def test_default_is_every_joint() -> None:
    (inquiry,) = questions().locate(image_of(ARIA), boxes=None, keypoints=None, camera=ARIA)
    assert inquiry.form.looks == 4 + 5 * 22
    pose = inquiry.read([say(follows_form=False)])
    assert pose.names == SMPL22.keypoints
    assert all(isinstance(point, Keypoint) and not point.valid for point in pose)
