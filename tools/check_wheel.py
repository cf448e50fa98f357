#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare a wheel with the tree it was built from: the package's files, one extension, no more.

Whether the installed package works is not looked at here: see `tools/test_wheel`.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
FOLDERS = {
    "edgepose": TREE / "src" / "edgepose",
    "edgepose/engines": TREE / "engines",
    "edgepose/export": TREE / "export",
    "edgepose/training": TREE / "training",
}
"""Where the files below each folder of the wheel come from, as `tool.scikit-build.wheel.packages` says."""

LEFT_OUT = TREE / "training" / "checkpoints"
"""What `tool.scikit-build.wheel.exclude` leaves out: the built-in models are in the wheel as bundles."""

LIMIT = 43_000_000
"""Bytes of a wheel that still counts as light: the built-in models may have 40 MB."""


def expected_names() -> set[str]:
    """Names in the wheel of all files that lie in the package's folders."""
    return {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_relative_to(LEFT_OUT)
        and not re.search(r"(^|/)(__pycache__|\.[^/]*)/", path.as_posix()[len(str(TREE)) :])
    }


def problems_of(wheel: Path) -> list[str]:
    """What is wrong with the wheel, one line each."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    extensions = {name for name in names if re.fullmatch(r"edgepose/_core\.[\w.-]*so", name)}
    gpu = {name for name in names if re.fullmatch(r"edgepose/_cuda\.[\w.-]*so", name)}  # where nvcc was found
    expected = expected_names()
    problems = [f"{name} is not in the wheel" for name in sorted(expected - names)]
    problems += [f"{name} is in the wheel only" for name in sorted(names - expected - extensions - gpu)]
    if len(extensions) != 1:
        problems.append(f"expected one edgepose/_core extension; got {sorted(extensions)}")
    if wheel.stat().st_size > LIMIT:
        problems.append(f"expected at most {LIMIT} bytes; got {wheel.stat().st_size}")
    return problems


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare a wheel with the tree it was built from.")
    parser.add_argument("wheel", type=Path)
    wheel: Path = parser.parse_args(arguments).wheel
    if problems := problems_of(wheel):
        sys.exit("\n".join([f"[check_wheel] {wheel.name}:", *problems]))
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, all files of the package in it")


if __name__ == "__main__":
    main()
