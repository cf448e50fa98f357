# SPDX-License-Identifier: Apache-2.0
"""Peak memory is that of this process: it grows with what is held and ignores what the parent held."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")

_CHILD = """
from importlib.util import module_from_spec, spec_from_file_location
import sys
spec = spec_from_file_location("peak_memory", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
before = module.peak_rss_bytes()
block = bytearray(b"x" * 50_000_000)
print(before, module.peak_rss_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no figure of the process alone")
def test_the_peak_is_ones_own() -> None:
    from edgepose.export import peak_memory

    ballast = bytearray(b"x" * 200_000_000)
    command = [sys.executable, "-c", _CHILD, peak_memory.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, grown = map(int, done.stdout.split())
    assert peak_memory.peak_rss_bytes() > len(ballast) > before
    assert 45e6 < grown < 120e6
