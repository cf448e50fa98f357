# SPDX-License-Identifier: Apache-2.0
"""The published sizes through NVIDIA's compiler on a small machine without a GPU: time, memory, sizes.

    python benchmarks/engines.py --work DIR [--subject posellm-7b] [--layers N] [--bundle DIR]

`posellm-7b` is PoseLLM (DINOv2 ViT-L, a 7 B decoder of 32 layers, INT4), `taihri-2b` has the shape of
Qwen3-VL-2B (INT4); weights are random. They need about 20 and 10 GB of disk under DIR, and the compiler about
10 GB of memory for the first. The build runs in a process of its own, so that its peak memory is its own, and
is followed by a second one with nothing changed. `--layers N` cuts the decoder to N layers and writes no
result file; `--bundle` takes a bundle that is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness

SUBJECTS = {"posellm-7b": ("posellm", "published"), "taihri-2b": ("taihri", "2b")}
"""Family, and size of `edgepose.export.random_checkpoint.SIZES_OF`."""


class Watch:
    """Largest anonymous memory of this process by stage: what no file backs, so what has to be there."""

    def __init__(self) -> None:
        self.stage = "start"
        self.peaks: dict[str, int] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.stage = stage

    def _run(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                if line.startswith("RssAnon"):
                    stage, now = self.stage, int(line.split()[1]) * 1024
                    self.peaks[stage] = max(now, self.peaks.get(stage, 0))
            time.sleep(0.1)


def build(bundle: Path, out: Path, recipe: str) -> dict[str, Any]:
    """Build once, and once more with nothing changed."""
    from edgepose.engines import build_engines

    watch = Watch()
    report = build_engines(bundle, recipe, out=out, progress=watch)
    again = build_engines(bundle, recipe, out=out)
    if again.status != "up to date":
        sys.exit("[engines] expected nothing to build the second time")
    return {
        "runtime": f"{report.platform.runtime} {report.platform.runtime_version}",
        "seconds": report.seconds,
        "seconds_again": again.seconds,
        "peak_rss_gb": round(harness.peak_mb() / 1000, 2),
        "estimate_build_gb": round(report.build_memory / 1e9, 2),
        "estimate_run_gb": round(report.run_memory / 1e9, 2),
        "components": {
            name: {
                "seconds": part.seconds,
                "weights_mb": round(report.estimates[name].weights / 1e6, 1),
                "engine_mb": round(part.bytes / 1e6, 1),
                "peak_anonymous_gb": round(watch.peaks.get(f"build {name}", 0) / 1e9, 2),
                "estimate_build_gb": round(report.estimates[name].building / 1e9, 2),
                "activations_mb": round(part.device_memory / 1e6, 1),
                "estimate_activations_mb": round(report.estimates[name].activations / 1e6, 1),
            }
            for name, part in report.components.items()
        },
    }


def export(subject: str, work: Path, layers: int | None) -> Path:
    """A bundle of random weights; what is there is kept."""
    from edgepose.export import export_bundle
    from edgepose.export.random_checkpoint import SIZES_OF, write_random_checkpoint

    family, name = SUBJECTS[subject]
    suffix = subject if layers is None else f"{subject}-{layers}"
    checkpoint, bundle = work / f"{suffix}-checkpoint", work / f"{suffix}-int4-fp16"
    if bundle.is_dir():
        return bundle
    if not checkpoint.is_dir():
        size = SIZES_OF[family][name]
        if layers is not None:
            size = dataclasses.replace(size, layers=layers)
        write_random_checkpoint(checkpoint, family=family, size=size)
    export_bundle(family=family, checkpoint=checkpoint, out=bundle, precision="int4-fp16")
    return bundle


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--work", type=Path, required=True, help="directory for checkpoint, bundle and engines"
    )
    parser.add_argument("--subject", choices=SUBJECTS, default="posellm-7b")
    parser.add_argument("--layers", type=int, help="cut the decoder to so many layers; writes no result file")
    parser.add_argument("--bundle", type=Path, help="int4-fp16 bundle to build instead of a new one")
    parser.add_argument("--recipe", default="rtx-ci")
    parser.add_argument("--step", choices=("build",), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.step == "build":
        print(json.dumps(build(options.bundle, options.work / "engines", options.recipe)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    bundle = options.bundle or export(options.subject, options.work, options.layers)
    command = [sys.executable, __file__, "--step", "build", "--work", str(options.work / options.subject)]
    command += ["--bundle", str(bundle), "--recipe", options.recipe]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    if options.layers is not None:
        print(json.dumps(figures, indent=2))
        return
    result = harness.read("engines")
    result["what"] = "bundles of random weights at the published sizes, INT4, compiled without a GPU"
    result["machine"] = harness.machine(2, "tensorrt_rtx", "onnx")
    result[options.subject] = {**harness.conditions(2), **figures}
    print(harness.write("engines", result))


if __name__ == "__main__":
    main()
