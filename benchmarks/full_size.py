# SPDX-License-Identifier: Apache-2.0
"""The published size on a small machine: export a 7 B checkpoint to INT4 and locate 17 keypoints with it.

    python benchmarks/full_size.py --work DIR [--tokenizer tokenizer.model] [--steps export,locate]

Needs about 20 GB of disk under DIR. The weights are random: the figures are about memory and time, not about
where the keypoints lie. Each step runs in a process of its own, so that its peak memory is its own; a step
that is left out keeps the figures it has in the result file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness

ASSETS = Path(__file__).parents[1] / "src" / "edgepose" / "assets"


def export(checkpoint: Path, out: Path) -> dict[str, Any]:
    """Export to INT4; seconds, peak memory and what the exporter says of parity."""
    from edgepose.export import export_bundle

    start = time.perf_counter()
    report = export_bundle(family="locllm", checkpoint=checkpoint, out=out, precision="int4", force=True)
    size = sum(file.stat().st_size for file in out.iterdir())
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_rss_gb": round(harness.peak_mb() / 1000, 2),
        "checkpoint_gb": round(sum(file.stat().st_size for file in checkpoint.iterdir()) / 1e9, 2),
        "bundle_gb": round(size / 1e9, 2),
        "parity": report.parity,
    }


def locate(bundle: Path, threads: int) -> dict[str, Any]:
    """Locate 17 keypoints twice: the first call also touches the weights for the first time."""
    from edgepose import Localizer

    person = json.loads((ASSETS / "person.json").read_text(encoding="utf-8"))
    start = time.perf_counter()
    localizer = Localizer(bundle, threads=threads)
    loaded = time.perf_counter() - start
    calls = []
    for _ in range(2):
        located = localizer.locate(ASSETS / "person.jpg", boxes=[person["box"]])
        timings = {stage: round(value / 1000, 2) for stage, value in located.timings_ms.items()}
        calls.append({"seconds": timings, "passes": located.passes.to_json()})
    answers = [keypoint.text for keypoint in located[0]]
    return {
        "load_seconds": round(loaded, 1),
        "calls": calls,
        "keypoints": len(answers),
        "answers_parse": sum(bool(keypoint.valid) for keypoint in located[0]),
        "outside_graphs": round(1 - timings["graphs"] / timings["total"], 4),
        "peak_rss_gb": round(harness.peak_mb() / 1000, 2),
    }


def _step(arguments: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="directory for checkpoint and bundle")
    parser.add_argument("--tokenizer", type=Path, help="SentencePiece model of 32,000 pieces to use")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", default="export,locate")
    parser.add_argument("--step", choices=("export", "locate"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    checkpoint, bundle = options.work / "locllm-7b", options.work / "locllm-7b-int4"
    if options.step == "export":
        print(json.dumps(export(checkpoint, bundle)))
        return
    if options.step == "locate":
        print(json.dumps(locate(bundle, options.threads)))
        return
    if not (checkpoint / "config.json").exists():
        from edgepose.export.random_checkpoint import SIZES, write_random_checkpoint

        write_random_checkpoint(
            checkpoint, family="locllm", size=SIZES["published"], tokenizer=options.tokenizer
        )
    common = ["--work", str(options.work), "--threads", str(options.threads), "--step"]
    result = harness.read("full_size")
    result["what"] = "LocLLM at its published size (7 B), random float16 weights, exported to int4"
    for step in options.steps.split(","):
        result["machine"] = harness.machine(options.threads)
        result[step] = {**harness.conditions(options.threads), **_step([*common, step])}
    print(harness.write("full_size", result))


if __name__ == "__main__":
    main()
