# SPDX-License-Identifier: Apache-2.0
"""edgepose against the published procedure in plain PyTorch: one person, 17 keypoints, same weights and crop.

    python benchmarks/locate.py [--sizes compact,wide] [--runs 5] [--threads 2]

A size that is left out keeps the figures it has in the result file.

The published procedure runs all 17 full prompts as one batch, encodes the image once for every prompt and
again at every decoding step, and computes logits at every position of the prompts. It is timed as it is,
and lean: without the repeated encoding and the unused logits. The weights are random and favour answers
that look like coordinates; they say nothing about accuracy, which is why each row carries the agreement of
its tokens with PyTorch's.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np

ASSETS = Path(__file__).parents[1] / "src" / "edgepose" / "assets"
CALLS = 15  # for shares and stages, after the paired runs
SIDES = (("exact", "fp32"), ("constrained", "fp32"), ("constrained", "int4"))


def sizes() -> dict[str, Any]:
    """What is measured: a size for small boards, and one as wide as a 1 B model with few layers."""
    from edgepose.export.random_checkpoint import SIZES

    return {
        "compact": replace(
            SIZES["small"],
            vision_hidden=256,
            vision_layers=6,
            hidden=256,
            layers=6,
            heads=4,
            kv_heads=4,
            intermediate=688,
            connector_hidden=256,
            vocabulary=32000,
        ),
        "wide": replace(SIZES["wide"], vocabulary=32000),
        "tiny": SIZES["small"],
    }


def published(checkpoint: Path, threads: int) -> tuple[Callable[..., Any], Any]:
    """The published procedure as a function of `reencode`, and the configuration of the model."""
    import torch

    from edgepose.crop import SquareCrop
    from edgepose.export.checkpoint import open_checkpoint
    from edgepose.export.families import LOCLLM
    from edgepose.export.families.views import CLIP_MEAN, CLIP_STD
    from edgepose.export.models import PoseModel
    from edgepose.export.prompts import build_prompt, encode_prompt
    from edgepose.export.published import answer_prompts
    from edgepose.export.tokenizer import load_tokenizer
    from edgepose.export.weights import ModelWeights
    from edgepose.images import load_image
    from edgepose.keypoint_wording import DEFAULT_TEXTS
    from edgepose.keypoints import COCO17

    torch.set_num_threads(threads)
    weights = ModelWeights(open_checkpoint(checkpoint), LOCLLM.architecture)
    model = PoseModel.from_weights(weights.config, weights)
    tokenizer = load_tokenizer(checkpoint)
    prompt = build_prompt("keypoint", tokenizer, weights.config.vision.patches)
    prompts = [
        encode_prompt(prompt, tokenizer, name=name, description=DEFAULT_TEXTS[name].description)
        for name in COCO17.keypoints
    ]
    image = load_image(ASSETS / "person.jpg")
    crop = SquareCrop.from_box(_box(), (image.shape[1], image.shape[0]))
    size = weights.config.vision.image_size
    pixels = torch.from_numpy(crop.pixels(image, size, mean=CLIP_MEAN, std=CLIP_STD))

    def answer(**options: Any) -> Any:
        return answer_prompts(model, tokenizer, prompts, pixels, **options)

    return answer, weights.config


def locator(bundle: Path, decode: Any, threads: int) -> Callable[[], Any]:
    """`locate` on the same person."""
    from edgepose import Localizer
    from edgepose.images import load_image

    image = load_image(ASSETS / "person.jpg")
    localizer = Localizer(bundle, decode=decode, threads=threads)
    return lambda: localizer.locate(image, boxes=[_box()])


def _box() -> Any:
    return json.loads((ASSETS / "person.json").read_text(encoding="utf-8"))["box"]


def measure(name: str, size: Any, *, runs: int, threads: int, work: Path) -> dict[str, Any]:
    """One size: export, check the answers, then time all sides in turn."""
    from edgepose.export import export_bundle
    from edgepose.export.random_checkpoint import write_random_checkpoint

    checkpoint = write_random_checkpoint(work / "checkpoint", size=size, dtype="float32")
    for precision in ("fp32", "int4"):
        export_bundle(family="locllm", checkpoint=checkpoint, out=work / precision, precision=precision)
    answer, config = published(checkpoint, threads)
    reference = answer()
    located = {
        f"{decode} {precision}": locator(work / precision, decode, threads) for decode, precision in SIDES
    }

    sides: dict[str, dict[str, Any]] = {}
    for side, locate in located.items():
        sides[side] = agreement(locate(), reference)
    exact = sides["exact fp32"]["tokens_equal"]
    if exact != 1.0:
        raise SystemExit(f"{name}: exact decoding differs from PyTorch: {exact:.3f} of the tokens equal")

    def as_published() -> Any:
        return answer(reencode="per-step", prefill_logits="all")

    times = harness.paired({"as published": as_published, "published, lean": answer, **located}, runs=runs)
    peaks = {side: _peak(side, checkpoint, threads) for side in ("as published", "published, lean")}
    for decode, precision in SIDES:
        peaks[f"{decode} {precision}"] = _peak(decode, work / precision, threads)

    needed = operations(config, work / "fp32")
    result: dict[str, Any] = {
        "vision": f"{config.vision.hidden} x {config.vision.layers}",
        "decoder": f"{config.decoder.hidden} x {config.decoder.layers}",
        "vocabulary": config.decoder.vocabulary,
    }
    for side, images in (
        ("as published", reference.vision_passes * reference.decoder_passes),
        ("published, lean", reference.vision_passes),
    ):
        result[side] = {
            "seconds": harness.spread(times[side]),
            "peak_rss_mb": peaks[side],
            "images_encoded": images,
            "decoder_passes": reference.decoder_passes,
        }
    for side, locate in located.items():
        calls = [locate() for _ in range(CALLS)]
        stages = calls[0].timings_ms
        outside = [1 - call.timings_ms["graphs"] / call.timings_ms["total"] for call in calls]
        result[side] = {
            "seconds": harness.spread(times[side]),
            "times_faster": harness.ratios(times["as published"], times[side]),
            "times_faster_than_lean": harness.ratios(times["published, lean"], times[side]),
            "peak_rss_mb": peaks[side],
            "passes": calls[0].passes.to_json(),
            "outside_graphs": round(statistics.median(outside), 4),
            "stages_ms": {s: round(statistics.median(c.timings_ms[s] for c in calls), 2) for s in stages},
            **sides[side],
        }
    seconds = statistics.median(times["constrained fp32"])
    result["constrained fp32"]["arithmetic"] = {**needed, "gflop_per_s": round(needed["gflop"] / seconds, 1)}
    return result


def agreement(located: Any, reference: Any) -> dict[str, float]:
    """Share of equal tokens, largest difference of confidences, distance of the points in crop widths."""
    pose = located[0]
    pairs = [
        (a, b)
        for keypoint, ids in zip(pose, reference.tokens, strict=True)
        for a, b in zip(keypoint.token_ids, ids, strict=False)
    ]
    side = max(pose.box[2:]) - 1
    moved = [
        math.dist(keypoint.xy, _to_image(xy, pose.box))
        for keypoint, xy in zip(pose, reference.xy, strict=True)
    ]
    confidences = np.array([pose.confidence, reference.scores])
    scored = np.isfinite(confidences).all(axis=0)  # a number behind the last step has none, in both
    difference = np.abs(confidences[0] - confidences[1])[scored].max()
    return {
        "tokens_equal": round(sum(a == b for a, b in pairs) / len(pairs), 4),
        "confidence_difference": float(f"{difference:.2g}"),
        "median_distance_in_crops": round(statistics.median(moved) / side, 4),
    }


def _to_image(xy: tuple[float, float], box: Sequence[float]) -> tuple[float, float]:
    x, y, w, h = box
    side = max(w, h) - 1
    return x + (w - 1) / 2 + (xy[0] - 0.5) * side, y + (h - 1) / 2 + (xy[1] - 0.5) * side


def operations(config: Any, bundle: Path) -> dict[str, Any]:
    """Arithmetic constrained decoding cannot do without: products with weights, padding not counted."""
    from edgepose.bundle import Bundle
    from edgepose.keypoints import COCO17
    from edgepose.prompts import build_prompt

    opened = Bundle.open(bundle)
    texts = opened.manifest.keypoints.named()
    asked = [{"name": n, "description": texts[n].description} for n in COCO17.keypoints]
    prompt = build_prompt(opened.manifest.prompt, opened.tokenizer, asked)
    questions = len(prompt.suffixes)
    codec: Any = opened.manifest.codec
    # Of an answer, all tokens are fed but the last free one and the bracket behind it.
    answers = questions * (codec.answer_tokens - 2)
    fed = len(prompt.prefix) + sum(map(len, prompt.suffixes)) + answers
    looked_at = 1 + questions * sum(codec.places)

    vision, decoder = config.vision, config.decoder
    block = 4 * vision.hidden**2 + 2 * vision.hidden * vision.mlp
    encoder = vision.layers * block * (vision.patches + 1)
    keys_and_values = 2 * decoder.hidden * decoder.kv_heads * decoder.head_dim
    others = 2 * decoder.hidden * decoder.heads * decoder.head_dim + 3 * decoder.hidden * decoder.intermediate
    layers = decoder.layers * keys_and_values * fed + others * ((decoder.layers - 1) * fed + looked_at)
    return {
        "gflop": round(2 * (encoder + layers) / 1e9, 2),
        "decoder_tokens": fed,
        "decoder_weights_mb": round(4 * decoder.layers * (keys_and_values + others) / 1e6, 1),
    }


def _peak(side: str, path: Path, threads: int) -> float:
    """Peak memory of one side in a process of its own, megabytes."""
    command = [sys.executable, __file__, "--peak", side, "--path", str(path), "--threads", str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def peak(side: str, path: Path, threads: int) -> float:
    """What `_peak` starts: one answer, then this process's peak."""
    if side == "as published":
        published(path, threads)[0](reencode="per-step", prefill_logits="all")
    elif side == "published, lean":
        published(path, threads)[0]()
    else:
        locator(path, side, threads)()
    return harness.peak_mb()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sizes", default="compact,wide", help="of " + ", ".join(sizes()))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="locate", help="name of the result file")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak:
        print(peak(options.peak, options.path, options.threads))
        return
    result = harness.read(options.out)
    result["what"] = "one person, 17 keypoints: edgepose against the published procedure in PyTorch float32"
    result["machine"] = harness.machine(options.threads)
    result.setdefault("sizes", {})
    for name in options.sizes.split(","):
        print(f"{name} ...", file=sys.stderr)
        work = Path(tempfile.mkdtemp(prefix="edgepose-benchmark-"))
        try:
            measured = measure(name, sizes()[name], runs=options.runs, threads=options.threads, work=work)
            result["sizes"][name] = {**harness.conditions(options.threads), **measured}
        finally:
            shutil.rmtree(work)
    print(harness.write(options.out, result))


if __name__ == "__main__":
    main()
