# SPDX-License-Identifier: Apache-2.0
"""The README's figures are those of benchmarks/results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
REPORT = TREE / "benchmarks" / "report.py"

if not REPORT.is_file():
    pytest.skip("no benchmarks here: these are the tests of an installed wheel", allow_module_level=True)


def test_the_readme_is_what_the_results_say() -> None:
    stale = subprocess.run([sys.executable, str(REPORT), "--check"], capture_output=True, text=True)
    assert stale.returncode == 0, f"run python benchmarks/report.py\n{stale.stderr}"
