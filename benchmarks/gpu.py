# SPDX-License-Identifier: Apache-2.0
"""Engines on a GPU: time by stage with percentiles, memory, and achieved bandwidth against a measured copy.
Beside them stand clocks, power mode and temperatures before and after (`board.py`).

    python benchmarks/gpu.py BUNDLE ENGINES [--frames 200] [--out FILE]

The answers are compared with those of ONNX Runtime on the CPU before anything is timed. Stages are timed by
events on the GPU, `preprocess` and `total` by the host's clock. What other benchmarks share stands in
`harness.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgepose
from edgepose import Localizer
from edgepose.backends.tensorrt import TensorRtBackend
from edgepose.bundle import LLM_DECODER, Bundle, external_data_file, graph_file
from edgepose.camera import Camera

IMAGE = Path(edgepose.__file__).parent / "assets" / "person.jpg"
BOX = (300.0, 60.0, 220.0, 400.0)
WARM_UP = 10
STAGES = ("preprocess", "vision", "prefix", "suffix", "decode", "total")
PERCENTILES = (10, 50, 90, 99)


def asker(bundle: Bundle, image: NDArray[np.uint8]) -> Callable[[Localizer, Any], Any]:
    """What is asked of a frame, and how."""
    if bundle.manifest.crop is not None:
        return lambda localizer, frame: localizer.locate(frame, boxes=[BOX])
    height, width = image.shape[:2]
    camera = Camera(fx=600, fy=600, cx=width / 2, cy=height / 2, width=width, height=height)
    return lambda localizer, frame: localizer.locate(frame, camera=camera)


def measure(localizer: Localizer, image: NDArray[np.uint8], frames: int) -> dict[str, Any]:
    """Times of `frames` runs, milliseconds, behind a warm-up that captures every shape.

    Args:
        localizer: over engines.
        image: what is looked at; each frame is shifted by some pixels.
        frames: how many are timed.
    """
    backend = localizer._backend
    assert isinstance(backend, TensorRtBackend)
    ask = asker(localizer.bundle, image)
    shifted = [np.roll(image, 2 * shift, axis=1) for shift in range(5)]
    for number in range(WARM_UP):
        ask(localizer, shifted[number % 5])
    before = backend._device.counts
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    passes = 0
    for number in range(frames):
        located = ask(localizer, shifted[number % 5])
        passes += located.passes.decode
        for stage in STAGES:
            times[stage].append(located.timings_ms[stage])
    after = backend._device.counts
    decode = sum(times["decode"]) / 1000 / max(1, passes)
    return {
        "frames": frames,
        "warm_up": WARM_UP,
        "ms": {
            stage: {f"p{p}": round(float(np.percentile(values, p)), 3) for p in PERCENTILES}
            for stage, values in times.items()
        },
        "decode_passes_per_frame": passes / frames,
        "decode_ms_per_pass": round(1000 * decode, 3),
        "decoder_weight_bytes": _weights(localizer.bundle),
        "decode_gb_per_s": round(_weights(localizer.bundle) / decode / 1e9, 2) if decode else None,
        "synchronisations_per_frame": (after.synchronisations - before.synchronisations) / frames,
        "device_bytes": after.bytes,
        "grown_bytes": after.bytes - before.bytes,
        "captures": after.captures,
    }


def compare(gpu: Localizer, cpu: Localizer, image: NDArray[np.uint8]) -> dict[str, Any]:
    """How far the answers on the GPU are those of ONNX Runtime on the CPU."""
    ask = asker(gpu.bundle, image)
    same, total, distance = 0, 0, 0.0
    for pose, other in zip(ask(gpu, image), ask(cpu, image), strict=True):
        # Of an answer for each keypoint, or of one about all of them.
        for k, o in [(pose, other), *zip(pose, other, strict=False)]:
            same += sum(a == b for a, b in zip(k.token_ids, o.token_ids, strict=False))
            total += len(o.token_ids)
        for k, o in zip(pose, other, strict=False):
            if np.isfinite(k.xy).all() and np.isfinite(o.xy).all():
                distance = max(distance, float(np.abs(k.xy - o.xy).max()))
    return {"token_agreement": same / max(1, total), "max_keypoint_error_px": round(distance, 3)}


def copy_bandwidth(device: Any, size: int = 256 << 20, rounds: int = 10) -> float:
    """Bytes read and written by the GPU's own copy, GB/s."""
    from edgepose.backends.gpu_memory import CudaMemory

    memory = CudaMemory(device)
    source, target = memory.allocate(size), memory.allocate(size)
    kind = memory._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    best = float("inf")
    for _ in range(rounds):
        memory.synchronise()
        start = time.perf_counter()
        for _ in range(4):
            memory._call("cudaMemcpyAsync", target, source, size, kind, memory.stream)
        memory.synchronise()
        best = min(best, time.perf_counter() - start)
    memory.close()
    return 4 * 2 * size / best / 1e9


def _weights(bundle: Bundle) -> int:
    files = (graph_file(LLM_DECODER), external_data_file(LLM_DECODER))
    return sum((bundle.path / file).stat().st_size for file in files if (bundle.path / file).exists())


def main(arguments: list[str]) -> int:
    from board import board, moving_clocks
    from harness import commit, machine

    from edgepose.images import load_image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("engines")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    before = board()
    if moving := moving_clocks(before):
        print(
            f"clocks may change while this measures: {', '.join(moving)}; on a Jetson choose a mode "
            "(sudo nvpmodel -m N) and hold its clocks (sudo jetson_clocks)",
            file=sys.stderr,
        )
    image = load_image(IMAGE)
    gpu = Localizer(options.bundle, engines=options.engines)
    agreement = compare(gpu, Localizer(options.bundle), image)
    backend = gpu._backend
    assert isinstance(backend, TensorRtBackend)
    traits = backend._device.traits  # type: ignore[attr-defined]
    report = {
        "gpu": traits.name,
        "compute_capability": f"{traits.major}.{traits.minor}",
        "engines": backend._engines.manifest.platform.runtime_version,
        "runtime": backend._engines.manifest.platform.runtime,
        "bundle": str(options.bundle),
        "precision": gpu.bundle.manifest.precision.name,
        "commit": commit(),
        **machine(1, "tensorrt", "tensorrt_rtx", "cuda-python"),
        "agreement": agreement,
        "copy_gb_per_s": round(copy_bandwidth(backend._device), 1),
        **measure(gpu, image, options.frames),
        "board": {"before": before, "after": board()},
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
