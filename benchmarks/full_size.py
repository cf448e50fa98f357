# SPDX-License-Identifier: Apache-2.0
"""The published sizes on a small machine: export a checkpoint to INT4 and answer with it.

    python benchmarks/full_size.py --work DIR [--family locllm] [--tokenizer FILE] [--steps export,answer]

`locllm` is the 7 B model with 17 keypoints of one person and needs about 20 GB of disk under DIR. `taihri`
has the shape of Qwen3-VL-2B, answers for three joints on a 640x480 frame with a focal length of 600, and
needs about 10 GB. The weights are random: the figures are about memory and time, not about where keypoints
lie. Each step runs in a process of its own, so that its peak memory is its own; a step that is left out keeps
the figures it has in the result file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np

ASSETS = Path(__file__).parents[1] / "src" / "edgepose" / "assets"


@dataclass(frozen=True, slots=True)
class Subject:
    """One family at its published size."""

    what: str
    size: str
    """Of `edgepose.export.random_checkpoint.SIZES_OF`."""
    result: str
    """Name of the result file."""
    answer: Callable[[Any], Any]
    """Answers once with a `Localizer`."""


def locate_person(localizer: Any) -> Any:
    """17 keypoints of one person."""
    person = json.loads((ASSETS / "person.json").read_text(encoding="utf-8"))
    return localizer.locate(ASSETS / "person.jpg", boxes=[person["box"]])


def locate_joints(localizer: Any) -> Any:
    """Three joints on a frame."""
    import ask

    from edgepose import Camera

    width, height = ask.SIZE
    camera = Camera(ask.FOCAL, ask.FOCAL, width / 2, height / 2, width, height)
    return localizer.locate(ask.frame(), keypoints=ask.JOINTS, camera=camera)


SUBJECTS = {
    "locllm": Subject(
        "LocLLM at its published size (7 B), random float16 weights, exported to int4",
        "published",
        "full_size",
        locate_person,
    ),
    "taihri": Subject(
        "TAIHRI in the shape of Qwen3-VL-2B, vocabulary extended, random bfloat16 weights, exported to int4",
        "2b",
        "full_size_taihri",
        locate_joints,
    ),
}


def export(family: str, checkpoint: Path, out: Path) -> dict[str, Any]:
    """Export to INT4; seconds, peak memory and what the exporter says of parity."""
    from edgepose.export import export_bundle

    start = time.perf_counter()
    report = export_bundle(family=family, checkpoint=checkpoint, out=out, precision="int4", force=True)
    size = sum(file.stat().st_size for file in out.iterdir())
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_rss_gb": round(harness.peak_mb() / 1000, 2),
        "checkpoint_gb": round(sum(file.stat().st_size for file in checkpoint.iterdir()) / 1e9, 2),
        "bundle_gb": round(size / 1e9, 2),
        "parity": report.parity,
    }


def answer(subject: Subject, bundle: Path, threads: int) -> dict[str, Any]:
    """Answer twice: the first call also touches the weights for the first time."""
    from edgepose import Localizer

    start = time.perf_counter()
    localizer = Localizer(bundle, threads=threads)
    loaded = time.perf_counter() - start
    calls = []
    for _ in range(2):
        located = subject.answer(localizer)
        timings = {stage: round(value / 1000, 2) for stage, value in located.timings_ms.items()}
        calls.append({"seconds": timings, "passes": located.passes.to_json()})
    pose = located[0]
    return {
        "load_seconds": round(loaded, 1),
        "calls": calls,
        "keypoints": len(pose),
        "answered": int(np.isfinite(pose.xy).all(axis=1).sum()),
        "outside_graphs": round(1 - (timings["graphs"] + timings["preprocess"]) / timings["total"], 4),
        "peak_rss_gb": round(harness.peak_mb() / 1000, 2),
        "bytes_a_pass": bytes_a_pass(bundle),
    }


def bytes_a_pass(bundle: Path) -> dict[str, float]:
    """Weights that a pass over answer tokens reads, megabytes: the decoder's and those of either head."""

    def megabytes(graph: str) -> float:
        return round(sum(file.stat().st_size for file in bundle.glob(f"{graph}.onnx*")) / 1e6, 1)

    return {name: megabytes(name) for name in ("llm_decoder", "lm_head", "answer_head")}


def _step(arguments: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="directory for checkpoint and bundle")
    parser.add_argument("--family", choices=SUBJECTS, default="locllm")
    parser.add_argument("--tokenizer", type=Path, help="locllm: SentencePiece model of 32,000 pieces to use")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", default="export,answer")
    parser.add_argument("--step", choices=("export", "answer"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    family, subject = options.family, SUBJECTS[options.family]
    checkpoint, bundle = options.work / family, options.work / f"{family}-int4"
    if options.step == "export":
        print(json.dumps(export(family, checkpoint, bundle)))
        return
    if options.step == "answer":
        print(json.dumps(answer(subject, bundle, options.threads)))
        return
    if not (checkpoint / "config.json").exists():
        from edgepose.export.random_checkpoint import SIZES_OF, write_random_checkpoint

        size = SIZES_OF[family][subject.size]
        write_random_checkpoint(checkpoint, family=family, size=size, tokenizer=options.tokenizer)
    common = ["--family", family, "--work", str(options.work), "--threads", str(options.threads), "--step"]
    result = harness.read(subject.result)
    result["what"] = subject.what
    for step in options.steps.split(","):
        result["machine"] = harness.machine(options.threads)
        result[step] = {**harness.conditions(options.threads), **_step([*common, step])}
    print(harness.write(subject.result, result))


if __name__ == "__main__":
    main()
