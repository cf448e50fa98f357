# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data: a tiny bundle in the current format, and what plain PyTorch answers with its weights.

    python tests/generate_data.py

Tests on a base install, without PyTorch, run this bundle and compare. When the format changes, new data joins
the old, which stays: old bundles open. `tests/export/test_generated_data.py` runs this file and compares its
outcome with what is stored.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgepose.crop import SquareCrop
from edgepose.export import export_bundle
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import PoseModel
from edgepose.export.prompts import build_prompt, encode_prompt
from edgepose.export.published import answer_prompts
from edgepose.export.random_checkpoint import RandomSize, write_random_checkpoint
from edgepose.export.tokenizer import load_tokenizer
from edgepose.export.weights import ModelWeights
from edgepose.images import load_image
from edgepose.keypoints import COCO17, DEFAULT_TEXTS
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


def published_answers(checkpoint: Path, manifest: Manifest, image: Path, box: Any) -> dict[str, Any]:
    """Tokens, texts, places and scores of the published procedure, for the 17 keypoints of COCO."""
    import torch

    weights = ModelWeights(open_checkpoint(checkpoint))
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


def generate(out: Path) -> None:
    """Write the bundle and the answers into `out`."""
    from edgepose.bundle import read_manifest

    out.mkdir(parents=True, exist_ok=True)
    person = Path(sys.modules[SquareCrop.__module__].__file__ or "").parent / "assets"
    box = json.loads((person / "person.json").read_text(encoding="utf-8"))["box"]
    with tempfile.TemporaryDirectory() as work:
        checkpoint = write_random_checkpoint(
            Path(work) / "tiny-posellm", family="posellm", size=SIZE, dtype="float32"
        )
        bundle = out / "bundle_v1"
        export_bundle(family="posellm", checkpoint=checkpoint, out=bundle, force=True)
        answers = published_answers(checkpoint, read_manifest(bundle), person / "person.jpg", box)
    (out / "answers_v1.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    generate(DATA)
