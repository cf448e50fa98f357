# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu.py on what stands for a GPU: it runs, and its figures are of the right things."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from edgepose import Localizer
from edgepose.images import load_image

from .bundles import bundle_of

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"

if not SCRIPT.is_file():
    pytest.skip("no benchmarks here: these are the tests of an installed wheel", allow_module_level=True)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("family", ["posellm", "taihri"])
def test_measures_stages_and_agreement(
    family: str, script: ModuleType, engines: Callable[[str], Path]
) -> None:
    image = load_image(script.IMAGE)
    gpu = Localizer(bundle_of(family), engines=engines(family))
    agreement = script.compare(gpu, Localizer(bundle_of(family), threads=1), image)
    assert agreement == {"token_agreement": 1.0, "max_keypoint_error_px": 0.0}
    report = script.measure(gpu, image, 10)
    assert set(report["ms"]) == set(script.STAGES)
    assert all(report["ms"][stage]["p50"] > 0 for stage in ("vision", "prefix", "suffix", "decode"))
    assert report["ms"]["total"]["p10"] <= report["ms"]["total"]["p50"] <= report["ms"]["total"]["p90"]
    assert report["synchronisations_per_frame"] == 1
    assert report["grown_bytes"] == 0
    assert report["decode_passes_per_frame"] > 0 and report["decode_gb_per_s"] > 0
