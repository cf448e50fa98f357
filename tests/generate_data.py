# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data: tiny bundles, and what plain PyTorch and `transformers` answer with their weights.

    python tests/generate_data.py

Tests on a base install, without PyTorch, run these bundles and compare. When the format changes, new data
joins the old, which stays: old bundles open. So `bundle_v1` (PoseLLM, format 1) was written by edgepose 0.1.0
and is not written again, only its answers are; `bundle_v2` (TAIHRI) has the current format.
`tests/export/test_generated_data.py` runs this file and compares its outcome with what is stored.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgepose.bundle import read_manifest
from edgepose.crop import SquareCrop
from edgepose.export import export_bundle
from edgepose.export.architectures import DINOV2_LLAMA
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import PoseModel
from edgepose.export.prompts import build_prompt, encode_prompt
from edgepose.export.published import answer_prompts
from edgepose.export.random_checkpoint import RandomQwen3VlSize, RandomSize, write_random_checkpoint
from edgepose.export.tokenizer import load_tokenizer
from edgepose.export.weights import ModelWeights
from edgepose.images import load_image
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.keypoints import COCO17
from edgepose.manifest import Manifest

DATA = Path(__file__).parent / "data"
SIZE = RandomSize(
    vision_hidden=64,
    vision_layers=1,
    hidden=48,
    layers=2,
    heads=4,
    kv_heads=2,
    intermediate=64,
    connector_hidden=32,
    crop_size=56,
)
TAIHRI_SIZE = RandomQwen3VlSize(
    vision_hidden=16,
    vision_layers=2,
    vision_heads=2,
    vision_intermediate=32,
    taps=(0,),
    patch_size=8,
    table_side=6,
    hidden=24,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    intermediate=32,
    merges=12,
    max_pixels=256 * 192,
)
TAIHRI_SEED = 32
"""Of a model whose answers hold joints with as many numbers as they should have, among others."""
FOCAL = 2500.0
"""Focal length that the packaged photograph is taken to have, pixels: it is scaled to 256 x 192."""
COMMANDS = ("Give the person a hug.", "Where are the left wrist and the head?", "Shake her right hand!")
MAX_TOKENS = 60


def published_answers(checkpoint: Path, manifest: Manifest, image: Path, box: Any) -> dict[str, Any]:
    """Tokens, texts, places and scores of the published procedure, for the 17 keypoints of COCO."""
    import torch

    weights = ModelWeights(open_checkpoint(checkpoint), DINOV2_LLAMA)
    model = PoseModel.from_weights(weights.config, weights)
    tokenizer = load_tokenizer(checkpoint)
    prompt = build_prompt(manifest.prompt.format, tokenizer, manifest.vision.patches)
    prompts = [
        encode_prompt(prompt, tokenizer, name=name, description=DEFAULT_TEXTS[name].description)
        for name in COCO17.keypoints
    ]
    pixels = load_image(image)
    crop = SquareCrop.from_box(box, (pixels.shape[1], pixels.shape[0]), manifest.crop.scale)
    cut = crop.pixels(pixels, manifest.crop.size, mean=manifest.crop.mean, std=manifest.crop.std)
    answers = answer_prompts(model, tokenizer, prompts, torch.from_numpy(cut))
    return {
        "names": list(COCO17.keypoints),
        "token_ids": answers.tokens,
        "texts": answers.texts,
        "xy": crop.to_image(answers.xy).round(6).tolist(),
        "confidence": [round(score, 6) for score in answers.scores],
    }


def transformers_answers(checkpoint: Path, image: Path) -> dict[str, Any]:
    """Prompts and greedy tokens of `transformers`, the published repetition penalty included."""
    from PIL import Image
    from taihri_oracle import TaihriOracle, focal_frame

    oracle = TaihriOracle(checkpoint)
    with Image.open(image) as opened:
        frame = focal_frame(opened.convert("RGB"), FOCAL)
    inputs = [oracle.inputs(frame, command)["input_ids"][0].tolist() for command in COMMANDS]
    answers = [oracle.answer(frame, command, MAX_TOKENS) for command in COMMANDS]
    return {
        "focal": FOCAL,
        "max_tokens": MAX_TOKENS,
        "commands": list(COMMANDS),
        "prompt_ids": inputs,
        "token_ids": answers,
        "texts": [oracle.tokenizer.decode(ids) for ids in answers],
    }


def generate(out: Path) -> None:
    """Write bundle and answers into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    assets = Path(sys.modules[SquareCrop.__module__].__file__ or "").parent / "assets"
    box = json.loads((assets / "person.json").read_text(encoding="utf-8"))["box"]
    with tempfile.TemporaryDirectory() as work:
        posellm = write_random_checkpoint(
            Path(work) / "tiny-posellm", family="posellm", size=SIZE, dtype="float32"
        )
        answers = published_answers(posellm, read_manifest(DATA / "bundle_v1"), assets / "person.jpg", box)
        _write(out / "answers_v1.json", answers)
        taihri = write_random_checkpoint(
            Path(work) / "tiny-taihri", family="taihri", size=TAIHRI_SIZE, dtype="float32", seed=TAIHRI_SEED
        )
        export_bundle(family="taihri", checkpoint=taihri, out=out / "bundle_v2", force=True)
        _write(out / "answers_v2.json", transformers_answers(taihri, assets / "person.jpg"))


def _write(file: Path, value: object) -> None:
    """JSON with a line for each number, so that changes can be read."""
    file.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    generate(DATA)
