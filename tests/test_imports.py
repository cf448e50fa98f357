# SPDX-License-Identifier: Apache-2.0
"""Importing edgepose, and asking its command line for help, is cheap: heavy libraries wait until used.

Who may import what is not decided here: see `test_layering`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "cv2",
    "hypothesis",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "safetensors",
    "sentencepiece",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "transformers",
}
"""None of these may be loaded before there is work for it."""

COMMANDS = (
    "demo",
    "locate",
    "ask",
    "track",
    "info",
    "verify",
    "export",
    "build",
    "inspect",
    "eval",
    "render",
    "train",
)

MOST_MODULES = 500
"""A bare interpreter has about 60 modules, NumPy brings about 150."""

IMPORT = "import edgepose"
HELP = """
import edgepose.cli
try:
    edgepose.cli.main({arguments!r})
except SystemExit as leave:
    assert not leave.code, leave.code
"""
REPORT = """
import sys
print("modules:", *sorted(sys.modules), file=sys.stderr)
"""


def run(script: str) -> tuple[set[str], str]:
    """Modules loaded by a script in an interpreter of its own, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script + REPORT], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("modules: ")[2].split()), done.stdout


def test_import_is_light() -> None:
    modules, printed = run(IMPORT + "\n")
    assert printed == ""
    assert modules & HEAVY == set()
    assert "click" not in modules
    assert not any(name.startswith("edgepose.export") for name in modules)
    assert len(modules) < MOST_MODULES


@pytest.mark.parametrize(
    "command", [[], *([name] for name in COMMANDS)], ids=lambda command: " ".join(command) or "edgepose"
)
def test_help_is_light(command: list[str]) -> None:
    modules, printed = run(HELP.format(arguments=[*command, "--help"]))
    assert "Usage:" in printed
    assert modules & HEAVY == set()
    assert len(modules) < MOST_MODULES


def test_everything_public_exists() -> None:
    _, printed = run("from edgepose import *\nimport edgepose\nprint(*edgepose.__all__)\n")
    names = printed.split()
    assert len(names) == len(set(names))
    assert {"Localizer", "Pose", "Keypoint", "EdgePoseError", "__version__"} <= set(names)
