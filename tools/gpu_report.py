# SPDX-License-Identifier: Apache-2.0
"""What a machine with a GPU can tell about edgepose with what is installed there: needs no network.

Builds the package with kernels under build/, runs tests/gpu, the tests of the kernels alone where GoogleTest
is found (CMAKE_PREFIX_PATH may name it), and writes one JSON file. Exit status 1 where something failed or
nothing ran on a GPU.

    python3 tools/gpu_report.py --out gpu.json

Environments that install themselves do not belong here: see `make test-gpu`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parent.parent
TAIL = 4000  # characters of what a failing command said
PACKAGES = (
    "cuda-bindings", "cuda-python", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "pillow",
    "pybind11", "pytest", "tensorrt", "tensorrt_rtx", "tokenizers", "torch",
)  # fmt: skip


def run(arguments: list[str], *, env: dict[str, str] | None = None, limit: float = 580) -> dict[str, Any]:
    """A command's status, seconds and the end of what it said; status None where it did not end."""
    start = time.perf_counter()
    status: int | None
    try:
        done = subprocess.run(
            arguments, cwd=TREE, env=env, text=True, timeout=limit,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        status, said = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        status, said = None, (error.stdout or b"").decode(errors="replace")
    except OSError as error:
        status, said = None, str(error)
    return {"status": status, "seconds": round(time.perf_counter() - start, 1), "said": said[-TAIL:]}


def machine() -> dict[str, Any]:
    """GPU, driver, compilers and packages."""
    import importlib.metadata

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
    asked = "--query-gpu=name,driver_version,compute_cap,memory.total"
    return {
        "gpu": run(["nvidia-smi", asked, "--format=csv,noheader"])["said"].strip(),
        "nvcc": run(["nvcc", "--version"])["said"].strip().rpartition("\n")[2],
        "python": sys.version.split()[0],
        "packages": versions,
    }


def environment(work: Path) -> dict[str, str]:
    """In which Python finds the package that was built."""
    return {**os.environ, "PYTHONPATH": str(work / "site")}


def installed(work: Path) -> dict[str, Any]:
    """Builds the package with kernels into a folder, with the tools that are there."""
    built = run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
            "--no-build-isolation", "--upgrade", "--target", str(work / "site"),
            "-C", f"build-dir={work / 'package'}", "-C", "cmake.define.EDGEPOSE_CUDA=ON", str(TREE),
        ]
    )  # fmt: skip
    if built["status"] != 0:
        return built
    # An edgepose that is installed in editable form would come first.
    which = "import sys, edgepose._cuda as found; sys.exit(not found.__file__.startswith(sys.argv[1]))"
    found = run([sys.executable, "-c", which, str(work / "site")], env=environment(work))
    return {**found, "seconds": built["seconds"]}


def kernels(work: Path) -> dict[str, Any]:
    """The tests of the kernels alone; skipped where there is no GoogleTest."""
    build = work / "kernels"
    configured = run(
        ["cmake", "-S", str(TREE), "-B", str(build), "-DEDGEPOSE_TESTS=ON", "-DEDGEPOSE_PYTHON=OFF",
         "-DEDGEPOSE_CUDA=ON", "-DCMAKE_BUILD_TYPE=Release"]
    )  # fmt: skip
    if configured["status"] != 0:
        if "GTest" in configured["said"]:
            return {"skipped": "no GoogleTest; tests/gpu runs every kernel, but from Python"}
        return configured
    jobs = str(os.cpu_count() or 1)
    built = run(["cmake", "--build", str(build), "--target", "edgepose_gpu_tests", "-j", jobs])
    if built["status"] != 0:
        return built
    return run([str(build / "tests/cpp/edgepose_gpu_tests")], env={**os.environ, "EDGEPOSE_REQUIRE_GPU": "1"})


def tests(work: Path, limit: float) -> dict[str, Any]:
    """tests/gpu: counts, what was skipped and why, what failed and how."""
    result = work / "tests.xml"
    result.unlink(missing_ok=True)
    # Other versions than those that `make test` installs may warn of other things.
    ran = run(
        [sys.executable, "-m", "pytest", "-q", "-W", "default", "-p",
         "no:cacheprovider", f"--junitxml={result}", "tests/gpu"],
        env=environment(work),
        limit=limit,
    )  # fmt: skip
    if not result.exists():
        return ran
    cases: dict[str, dict[str, str]] = {"passed": {}, "skipped": {}, "failed": {}}
    for case in ElementTree.parse(result).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        found = next(iter(case), None)
        kind = "passed" if found is None else "skipped" if found.tag == "skipped" else "failed"
        said = (case.get("time") or "") if found is None else found.get("message", "")
        cases[kind][name] = said[:TAIL]
    counts = {kind: len(group) for kind, group in cases.items()}
    return {**ran, "said": ran["said"] if ran["status"] else "", "counts": counts, "cases": cases}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=TREE / "build" / "gpu-report")
    parser.add_argument("--limit", type=float, default=400, help="seconds for tests/gpu")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine()}

    def note(name: str, found: dict[str, Any]) -> bool:
        report[name] = found
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")  # as far as it got
        print(name, json.dumps({k: v for k, v in found.items() if k != "cases"}), flush=True)
        return "skipped" in found or found["status"] == 0

    good = note("package", installed(work))
    if good:
        good = note("tests", tests(work, options.limit))
        good = good and bool(report["tests"].get("counts", {}).get("passed"))
    return 0 if note("kernels", kernels(work)) and good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
