# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks share: what machine this is, what it can do, paired timing, and the JSON they write.

    python benchmarks/harness.py      prints what this machine can do right now, with two threads

What is measured does not belong here.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def machine(threads: int, *compared: str) -> dict[str, Any]:
    """Processor, memory and versions, as they matter to a figure; `compared`: further packages."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line), "")
    flags = next(
        (line.split(":", 1)[1].split() for line in info.splitlines() if line.startswith("flags")), []
    )
    packages = ("edgepose", "numpy", "onnxruntime", "torch", "tokenizers", *compared)
    return {
        "processor": model or platform.processor(),
        "instructions": [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f in flags],
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in packages if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def conditions(threads: int) -> dict[str, Any]:
    """What belongs to one set of figures: the commit, and what the machine could do just then."""
    return {"commit": commit(), "limits": limits(threads)}


def commit() -> str:
    """Of the tree that this file is in; `-dirty` where it differs from it."""
    try:
        where = Path(__file__).parent
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=where, capture_output=True, text=True, check=True
        )
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def limits(threads: int) -> dict[str, float]:
    """What this machine can do right now: read memory (GB/s), multiply float32 matrices (GFLOP/s)."""
    import torch

    torch.set_num_threads(threads)
    block = torch.randn(96 << 20)  # 403 MB, several times any cache
    read = min(_seconds(block.sum) for _ in range(5))
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    multiply = min(_seconds(lambda: a @ b) for _ in range(5))
    return {
        "memory_read_gb_per_s": round(block.nbytes / read / 1e9, 1),
        "float32_matmul_gflop_per_s": round(2 * 2048**3 / multiply / 1e9, 1),
    }


def product_of_onnxruntime(threads: int) -> float:
    """The same product of float32 matrices in ONNX Runtime, GFLOP/s."""
    import onnxruntime
    from onnx import TensorProto, helper

    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2048, 2048]) for name in "aby"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "g", shapes[:2], shapes[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {name: np.random.default_rng(0).standard_normal((2048, 2048), np.float32) for name in "ab"}
    multiply = min(_seconds(lambda: session.run(None, given)) for _ in range(6))
    return round(2 * 2048**3 / multiply / 1e9, 1)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(
    sides: Mapping[str, Callable[[], object]], *, runs: int, progress: bool = True
) -> dict[str, list[float]]:
    """Seconds of each side, taken in turn (A B C, A B C, ...) after one warm-up of each."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(runs + 1):
        for name, work in sides.items():
            if progress:
                print(f"\r  run {run}/{runs} {name:<28}", end="", file=sys.stderr, flush=True)
            seconds = _seconds(work)
            if run > 0:
                times[name].append(seconds)
    if progress:
        print("\r" + " " * 48 + "\r", end="", file=sys.stderr)
    return times


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median, tenth and ninetieth percentile."""
    p10, p90 = np.percentile(values, [10, 90])
    return {
        "median": round(statistics.median(values), digits),
        "p10": round(float(p10), digits),
        "p90": round(float(p90), digits),
        "n": len(values),
    }


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Spread of the ratio, pair by pair."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)], 2)


def peak_mb() -> float:
    """Largest resident size of this process so far, megabytes (10^6 bytes).

    Not from getrusage: on Linux that keeps the peak of the process which started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(kib) * 1024 / 1e6, 1)


def read(name: str) -> dict[str, Any]:
    """What `results/NAME.json` holds; nothing where there is none."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return file


def show_progress(stage: str, done: int, total: int) -> None:
    """Progress of a stage, on one line of standard error."""
    print(f"\r  {stage} {done}/{total}      ", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps({**limits(2), "float32_matmul_gflop_per_s in onnxruntime": product_of_onnxruntime(2)}))
