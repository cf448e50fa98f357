# SPDX-License-Identifier: Apache-2.0
"""Checkpoint to coordinates on photographs: the tokens of the published procedure in plain PyTorch."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgepose  # noqa: E402
from edgepose import H36M17, Localizer  # noqa: E402
from edgepose._core import DigitCodec  # noqa: E402
from edgepose.bundle import Bundle  # noqa: E402
from edgepose.cli import main  # noqa: E402
from edgepose.crop import SquareCrop  # noqa: E402
from edgepose.export import export_bundle  # noqa: E402
from edgepose.export.architectures import DINOV2_LLAMA  # noqa: E402
from edgepose.export.checkpoint import open_checkpoint  # noqa: E402
from edgepose.export.models import PoseModel  # noqa: E402
from edgepose.export.prompts import build_prompt, encode_prompt  # noqa: E402
from edgepose.export.published import PublishedAnswers, answer_prompts  # noqa: E402
from edgepose.export.tokenizer import load_tokenizer  # noqa: E402
from edgepose.export.weights import ModelWeights  # noqa: E402
from edgepose.images import load_image  # noqa: E402
from edgepose.keypoints import KEYPOINT_SETS  # noqa: E402
from edgepose.verify import verify_bundle  # noqa: E402

ASSETS = Path(edgepose.__file__).parent / "assets"
CODEC_FIELDS = ("places", "open", "zero", "point", "comma", "close", "digits")


class Published:
    """The published procedure over a checkpoint, with a bundle's keypoint texts."""

    def __init__(self, checkpoint: Path, prompt_format: str) -> None:
        weights = ModelWeights(open_checkpoint(checkpoint), DINOV2_LLAMA)
        self.model = PoseModel.from_weights(weights.config, weights)
        self.tokenizer = load_tokenizer(checkpoint)
        self.prompt = build_prompt(prompt_format, self.tokenizer, weights.config.vision.patches)

    def answer(self, localizer: Localizer, crop: SquareCrop, image: Any) -> PublishedAnswers:
        manifest = localizer.bundle.manifest
        texts = manifest.keypoints.named()
        prompts = [
            encode_prompt(
                self.prompt,
                self.tokenizer,
                name=name,
                description=texts[name].description,
                question=texts[name].asked,
            )
            for name in KEYPOINT_SETS[manifest.keypoints.default].keypoints
        ]
        pixels = crop.pixels(image, manifest.crop.size, mean=manifest.crop.mean, std=manifest.crop.std)
        return answer_prompts(
            self.model,
            self.tokenizer,
            prompts,
            torch.from_numpy(pixels),
            max_new_tokens=manifest.codec.answer_tokens,
        )


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> list[tuple[Path, list[float]]]:
    """Each photograph with the box of its largest person."""
    annotations = json.loads((shared_data / "coco" / "test_coco.json").read_text(encoding="utf-8"))
    found = []
    for entry in annotations["images"]:
        marked = [a for a in annotations["annotations"] if a["num_keypoints"]]
        people = [a for a in marked if a["image_id"] == entry["id"]]
        box = max(people, key=lambda a: a["area"])["bbox"]
        found.append((shared_data / "coco" / entry["file_name"], box))
    return found


@pytest.mark.parametrize(
    ("family", "prompt_format"), [("locllm", "keypoint"), ("posellm", "keypoint"), ("locllm", "llama2")]
)
def test_exact_tokens_are_those_of_the_published_procedure(
    family: str,
    prompt_format: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    photographs: list[tuple[Path, list[float]]],
) -> None:
    checkpoint = request.getfixturevalue(f"{family}_checkpoint")
    bundle = tmp_path / "bundle"
    export_bundle(family=family, checkpoint=checkpoint, out=bundle, prompt_format=prompt_format)
    published = Published(checkpoint, prompt_format)
    localizer = Localizer(bundle, decode="exact")
    for path, box in photographs if prompt_format == "keypoint" else photographs[:1]:
        image = load_image(path)
        (pose,) = localizer.locate(path, boxes=[box])
        crop = SquareCrop.from_box(box, (image.shape[1], image.shape[0]))
        expected = published.answer(localizer, crop, image)
        assert [list(keypoint.token_ids) for keypoint in pose] == expected.tokens
        assert [keypoint.text.strip() for keypoint in pose] == expected.texts
        np.testing.assert_allclose(pose.xy, crop.to_image(expected.xy), atol=1e-3)
        np.testing.assert_allclose(pose.confidence, expected.scores, atol=2e-4)


def test_answers_with_a_depth_are_those_of_the_published_procedure(
    locllm_checkpoint: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=bundle, answer="3d")
    manifest = Bundle.open(bundle).manifest
    assert (manifest.codec.places, manifest.codec.depth_range_mm) == ((3, 3, 6), 2000.0)
    assert (manifest.codec.answer_tokens, manifest.keypoints.default) == (22, "h36m17")
    assert manifest.crop.scale == 1.0

    image = load_image(ASSETS / "person.jpg")
    box = json.loads((ASSETS / "person.json").read_text(encoding="utf-8"))["box"]
    crop = SquareCrop.from_box(box, (image.shape[1], image.shape[0]))
    localizer = Localizer(bundle, decode="exact")
    (pose,) = localizer.locate(image, boxes=[box])
    expected = Published(locllm_checkpoint, "keypoint").answer(localizer, crop, image)
    assert pose.names == H36M17.keypoints
    assert [list(keypoint.token_ids) for keypoint in pose] == expected.tokens
    assert [keypoint.text.strip() for keypoint in pose] == expected.texts
    assert len({len(re.findall(r"\.\d+", text)) for text in expected.texts}) > 1  # random, but not all alike
    for keypoint, text in zip(pose, expected.texts, strict=True):
        found = [float(f"0{fraction}") for fraction in re.findall(r"\.\d+", text)][:3]
        assert keypoint.valid == (len(found) == 3)
        np.testing.assert_allclose(keypoint.xy, crop.to_image((*found, 0, 0)[:2]), atol=1e-3)
        depth = 0.0 if not found else (found[2] - 0.5) * 2000 if len(found) == 3 else math.nan
        assert keypoint.depth == pytest.approx(depth, nan_ok=True)

    located = Localizer(bundle).locate(image, boxes=[box])
    assert located.passes.to_json() == {"vision": 1, "prefix": 1, "suffix": 1, "decode": 11}
    (pose,) = located
    assert all(pose.valid) and all(len(keypoint.token_ids) == 22 for keypoint in pose)
    assert np.all(np.abs(pose.depth) <= 1000) and np.all(pose.depth_std > 0)
    assert np.isfinite(pose.std).all() and np.all((pose.confidence > 0) & (pose.confidence <= 1))
    codec = DigitCodec(**{name: getattr(manifest.codec, name) for name in CODEC_FIELDS})
    for keypoint in pose:
        x, y, z = map(float, keypoint.text.strip("[] ").split(","))
        assert codec.encode([x, y, z]) == list(keypoint.token_ids)
        np.testing.assert_allclose(keypoint.xy, crop.to_image((x, y)))
        assert keypoint.depth == pytest.approx((z - 0.5) * 2000)
    written = located.to_json()["poses"][0]["keypoints"][0]
    assert written["depth"] == pose[0].depth and written["depth_std"] == pose[0].depth_std


@pytest.mark.parametrize("precision", ["fp16", "int4", "int4-fp16", "fp32-half", "int4-half"])
def test_every_precision_runs_and_verifies(
    precision: str, posellm_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    export_bundle(family="posellm", checkpoint=posellm_checkpoint, out=bundle, precision=precision)
    assert verify_bundle(bundle).passed
    image = np.random.default_rng(3).integers(0, 255, (120, 90, 3), dtype=np.uint8)
    (pose,) = Localizer(bundle).locate(image, boxes=[(0, 0, 90, 120)], keypoints=["nose", "left knee"])
    assert all(pose.valid) and np.isfinite(pose.xy).all() and np.isfinite(pose.std).all()


def test_the_command_line_from_checkpoint_to_picture(
    locllm_checkpoint: Path, tmp_path: Path, photographs: list[tuple[Path, list[float]]]
) -> None:
    bundle, answer, picture = tmp_path / "bundle", tmp_path / "answer.json", tmp_path / "picture.png"
    path, box = photographs[0]

    def run(*arguments: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        assert ended.value.code in (0, None)

    run("export", "--family", "locllm", "--checkpoint", str(locllm_checkpoint), "--out", str(bundle))
    run("verify", str(bundle))
    boxes = ["--box", ",".join(map(str, box)), "--box", "0,0,100,100"]
    outputs = ["--json", str(answer), "--draw", str(picture), "--trace"]
    run("locate", str(path), "--bundle", str(bundle), *boxes, "--keypoints", "nose,left wrist", *outputs)
    written = json.loads(answer.read_text(encoding="utf-8"))
    assert [len(pose["keypoints"]) for pose in written["poses"]] == [2, 2]
    assert written["passes"] == {"vision": 2, "prefix": 2, "suffix": 2, "decode": 10}
    assert set(written["poses"][0]["keypoints"][0]) == {
        "name", "xy", "confidence", "std", "valid", "token_ids", "text", "prompt_ids",
    }  # fmt: skip
    assert load_image(picture).shape == load_image(path).shape
