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


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPT.parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("gpu", monkeypatch)


def test_a_board_says_its_clocks_and_temperatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "1300500000\n",
        "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "1300500000\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "2201600\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "2201600\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "2201600\n",
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "48500\n",
        "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",  # which cannot be read while it sleeps
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "nvpmodel").write_text("#!/bin/sh\necho 'NV Power Mode: MAXN'\necho 0\n")
    (tools / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    script = load("board", monkeypatch)
    found = script.board(tmp_path)
    assert found == {
        "model": "NVIDIA Jetson AGX Orin Developer Kit",
        "release": "# R36 (release), REVISION: 4.3",
        "power_mode": "NV Power Mode: MAXN\n0",
        "mhz": {
            "17000000.gpu": {"now": 1300.5, "least": 306.0, "most": 1300.5},
            "policy0": {"now": 2201.6, "least": 2201.6, "most": 2201.6},
        },
        "celsius": {"thermal_zone1 gpu-thermal": 48.5},
    }
    assert script.moving_clocks(found) == ["17000000.gpu"]
    assert script.moving_clocks(script.board(tmp_path / "nothing")) == []


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
