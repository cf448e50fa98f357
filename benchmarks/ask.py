# SPDX-License-Identifier: Apache-2.0
"""edgepose against `transformers.generate`: one frame, metric 3-D joints, asked for and free, same weights.

    python benchmarks/ask.py [--sizes compact,mid] [--runs 5] [--threads 2]

A size that is left out keeps the figures it has in the result file.

The frame has 640x480 pixels and a focal length of 600, so 825 image tokens. Both sides start from its pixels
and end with tokens: scaling, image processor and tokenizer included. `generate` is greedy with the published
repetition penalty, its cache and scaled-dot-product attention on; it writes as many tokens as the constrained
answer has, and so does exact mode. The weights are random and favour tokens of answers; they say nothing
about accuracy, which is why each row carries the agreement of its tokens with those of `generate`.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np

ASSETS = Path(__file__).parents[1] / "src" / "edgepose" / "assets"
CALLS = 5  # for shares and stages, after the paired runs
JOINTS = ("left_shoulder", "left_elbow", "left_wrist")
COMMAND = "Give the person a big hug."
FOCAL = 600.0
SIZE = (640, 480)
SIDES = (("exact", "fp32"), ("constrained", "fp32"), ("constrained", "int4"))
REFERENCE = "transformers"


def sizes() -> dict[str, Any]:
    """What is measured: a size for small boards, and half the 2 B model's width, a third of its layers."""
    from edgepose.export.random_checkpoint import QWEN3_VL_SIZES, RandomQwen3VlSize

    return {
        "compact": RandomQwen3VlSize(
            vision_hidden=256,
            vision_layers=6,
            vision_heads=4,
            vision_intermediate=1024,
            taps=(1, 3, 4),
            table_side=48,
            hidden=256,
            layers=6,
            heads=4,
            kv_heads=2,
            head_dim=64,
            intermediate=768,
            vocabulary=32768,
        ),
        "mid": RandomQwen3VlSize(
            vision_hidden=512,
            vision_layers=8,
            vision_heads=8,
            vision_intermediate=2048,
            taps=(1, 3, 5),
            table_side=48,
            hidden=1024,
            layers=10,
            heads=8,
            kv_heads=4,
            head_dim=128,
            intermediate=3072,
            vocabulary=152_704,
        ),
        "tiny": QWEN3_VL_SIZES["small"],
    }


def frame() -> Any:
    """The photograph that ships with the package, at the size of the benchmark."""
    import cv2

    from edgepose.images import load_image

    return cv2.resize(load_image(ASSETS / "person.jpg"), SIZE, interpolation=cv2.INTER_AREA)


def reference(checkpoint: Path, threads: int) -> Callable[[str, int], list[int]]:
    """`generate` as a function of the question and the tokens to write."""
    import PIL.Image
    import torch
    import transformers

    torch.set_num_threads(threads)
    library: Any = transformers
    model = library.Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    # The processor on Pillow, which the published preprocessing is defined by; the whole processor of the
    # model would ask for torchvision.
    processor = library.AutoImageProcessor.from_pretrained(checkpoint, backend="pil")
    tokenizer = library.AutoTokenizer.from_pretrained(checkpoint)
    placeholder = "<|image_pad|>"
    image = PIL.Image.fromarray(frame())
    scale = 1000 / FOCAL
    scaled = (int(SIZE[0] * scale), int(SIZE[1] * scale))

    def answer(question: str, tokens: int) -> list[int]:
        seen = image.resize(scaled, PIL.Image.Resampling.LANCZOS)
        messages = [
            {"role": "system", "content": "You are a helpful assistant"},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
        ]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        pixels = processor(images=[seen], return_tensors="pt")
        tokens_of_image = int(pixels["image_grid_thw"].prod()) // processor.merge_size**2
        inputs = tokenizer(text.replace(placeholder, placeholder * tokens_of_image), return_tensors="pt")
        inputs["mm_token_type_ids"] = (
            inputs["input_ids"] == tokenizer.convert_tokens_to_ids(placeholder)
        ).long()
        with torch.inference_mode():
            written = model.generate(
                **inputs,
                **pixels,
                do_sample=False,
                repetition_penalty=1.05,
                max_new_tokens=tokens,
                temperature=None,
                top_p=None,
                top_k=None,
            )
        ids: list[int] = written[0, inputs["input_ids"].shape[1] :].tolist()
        return ids

    return answer


def locator(bundle: Path, decode: Any, threads: int, tokens: int | None = None) -> Callable[[str], Any]:
    """edgepose as a function of the form: `asked` or `free`."""
    from edgepose import Camera, Localizer

    image = frame()
    width, height = SIZE
    camera = Camera(FOCAL, FOCAL, width / 2, height / 2, width, height)
    localizer = Localizer(bundle, decode=decode, threads=threads, max_tokens=tokens)

    def locate(form: str) -> Any:
        if form == "asked":
            return localizer.locate(image, keypoints=JOINTS, camera=camera)
        return localizer.ask(image, COMMAND, camera=camera)

    return locate


def questions(bundle: Path) -> dict[str, str]:
    """By form."""
    from edgepose.bundle import Bundle

    wording = Bundle.open(bundle).manifest.prompt.asked or ""
    return {"asked": wording.replace("{names}", ", ".join(JOINTS)), "free": COMMAND}


def measure(name: str, size: Any, *, runs: int, threads: int, work: Path) -> dict[str, Any]:
    """One size: export, then both forms."""
    from edgepose.export import export_bundle
    from edgepose.export.random_checkpoint import write_random_checkpoint

    checkpoint = write_random_checkpoint(work / "checkpoint", family="taihri", size=size, dtype="float32")
    for precision in ("fp32", "int4"):
        export_bundle(family="taihri", checkpoint=checkpoint, out=work / precision, precision=precision)
    result: dict[str, Any] = {
        "vision": f"{size.vision_hidden} x {size.vision_layers}",
        "decoder": f"{size.hidden} x {size.layers}",
        "vocabulary": size.vocabulary,
    }
    for form, question in questions(work / "fp32").items():
        result[form] = measure_form(name, form, question, checkpoint, work, runs=runs, threads=threads)
    return result


def measure_form(
    name: str, form: str, question: str, checkpoint: Path, work: Path, *, runs: int, threads: int
) -> dict[str, Any]:
    """One form of one size: check the answers, then time all sides in turn."""
    tokens = len(locator(work / "fp32", "constrained", threads)(form)[0].token_ids)
    generate = reference(checkpoint, threads)
    expected = generate(question, tokens)
    located = {
        f"{decode} {precision}": locator(work / precision, decode, threads, tokens)
        for decode, precision in SIDES
    }
    agreement = {}
    for side, locate in located.items():
        said = locate(form)[0].token_ids
        agreement[side] = sum(a == b for a, b in zip(said, expected, strict=False)) / len(expected)
    if agreement["exact fp32"] != 1.0:
        raise SystemExit(f"{name}, {form}: exact decoding differs from transformers: {agreement}")

    sides: dict[str, Callable[[], object]] = {REFERENCE: functools.partial(generate, question, tokens)}
    sides |= {side: functools.partial(locate, form) for side, locate in located.items()}
    times = harness.paired(sides, runs=runs)
    result: dict[str, Any] = {
        "tokens": tokens,
        REFERENCE: {
            "seconds": harness.spread(times[REFERENCE]),
            "peak_rss_mb": _peak(REFERENCE, checkpoint, form, tokens, threads),
            "decoder_passes": len(expected),
        },
    }
    for decode, precision in SIDES:
        side = f"{decode} {precision}"
        calls = [located[side](form) for _ in range(CALLS)]
        stages = calls[0].timings_ms
        outside = [
            1 - (call.timings_ms["graphs"] + call.timings_ms["preprocess"]) / call.timings_ms["total"]
            for call in calls
        ]
        result[side] = {
            "seconds": harness.spread(times[side]),
            "times_faster": harness.ratios(times[REFERENCE], times[side]),
            "peak_rss_mb": _peak(decode, work / precision, form, tokens, threads),
            "passes": calls[0].passes.to_json(),
            "joints": len(calls[0][0]),
            "tokens_equal": round(agreement[side], 4),
            "outside_graphs": round(statistics.median(outside), 4),
            "stages_ms": {s: round(statistics.median(c.timings_ms[s] for c in calls), 2) for s in stages},
        }
    result["precision"] = _distance(located["constrained fp32"](form), located["constrained int4"](form))
    return result


def _distance(one: Any, other: Any) -> dict[str, float]:
    """How far apart two answers about the same joints are; of random weights it says nothing about people."""
    names = [name for name in one[0].names if name in other[0].names]
    apart = [float(np.linalg.norm(one[0][name].xyz - other[0][name].xyz)) for name in names]
    return {"joints": len(names), "median_metres": round(statistics.median(apart), 3) if apart else 0.0}


def _peak(side: str, path: Path, form: str, tokens: int, threads: int) -> float:
    """Peak memory of one side in a process of its own, megabytes."""
    options = {"--peak": side, "--path": path, "--form": form, "--tokens": tokens, "--threads": threads}
    command = [sys.executable, __file__, *(str(part) for pair in options.items() for part in pair)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def peak(side: str, path: Path, form: str, tokens: int, threads: int) -> float:
    """What `_peak` starts: one answer, then this process's peak."""
    if side == REFERENCE:
        reference(path, threads)(questions(path.parent / "fp32")[form], tokens)
    else:
        locator(path, side, threads, tokens)(form)
    return harness.peak_mb()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sizes", default="compact,mid", help="of " + ", ".join(sizes()))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="ask", help="name of the result file")
    for hidden in ("--peak", "--form"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak:
        print(peak(options.peak, options.path, options.form, options.tokens, options.threads))
        return
    result = harness.read(options.out)
    result["what"] = "one 640x480 frame: edgepose against transformers.generate in PyTorch float32"
    result["machine"] = harness.machine(options.threads, "transformers")
    result.setdefault("sizes", {})
    for name in options.sizes.split(","):
        print(f"{name} ...", file=sys.stderr)
        work = Path(tempfile.mkdtemp(prefix="edgepose-benchmark-"))
        try:
            measured = measure(name, sizes()[name], runs=options.runs, threads=options.threads, work=work)
            result["sizes"][name] = {**harness.conditions(options.threads), **measured}
        finally:
            shutil.rmtree(work)
        harness.write(options.out, result)


if __name__ == "__main__":
    main()
