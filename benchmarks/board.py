# SPDX-License-Identifier: Apache-2.0
"""What a board was doing while something was measured: power mode, clocks and temperatures, as Linux tells.

What a machine is made of does not belong here: see `harness.py`.
Source of names and units: the kernel's ABI documents of devfreq, cpufreq and thermal zones.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["board", "moving_clocks"]

_GPU_FIELDS = ("clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu")


def board(root: Path = Path("/")) -> dict[str, Any]:
    """What can be read without rights; what is not there is left out.

    Args:
        root: of the file system.

    Returns:
        For `json.dumps`: `model`, `release` of NVIDIA's board support, `power_mode` as `nvpmodel -q` says it,
        `mhz` by clock (now, least and most that its governor may choose), `celsius` by thermal zone, `gpu` as
        `nvidia-smi` says it.
    """
    sensors = {
        "model": _text(root / "proc/device-tree/model"),
        "release": _text(root / "etc/nv_tegra_release"),
        "power_mode": _said("nvpmodel", "-q"),
        "mhz": {
            **_clocks(root / "sys/class/devfreq", "{}_freq", 1e6),
            **_clocks(root / "sys/devices/system/cpu/cpufreq", "scaling_{}_freq", 1e3),
        },
        "celsius": {
            f"{zone.name} {kind}": int(heat) / 1000
            for zone in _entries(root / "sys/class/thermal", "thermal_zone*")
            if (kind := _text(zone / "type")) and (heat := _text(zone / "temp"))
        },
        "gpu": _gpu(),
    }
    return {name: value for name, value in sensors.items() if value}


def moving_clocks(found: dict[str, Any]) -> list[str]:
    """Clocks of `board` that a governor may change while something is measured."""
    return [name for name, mhz in found.get("mhz", {}).items() if mhz["least"] < mhz["most"]]


def _clocks(folder: Path, name: str, per_mhz: float) -> dict[str, dict[str, float]]:
    found = {}
    for entry in _entries(folder, "*"):
        values = {key: _text(entry / name.format(key)) for key in ("cur", "min", "max")}
        if all(values.values()):
            now, least, most = (round(int(value or 0) / per_mhz, 1) for value in values.values())
            found[entry.name] = {"now": now, "least": least, "most": most}
    return found


def _gpu() -> dict[str, str]:
    said = _said("nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader")
    fields = [] if said is None else [field.strip() for field in said.splitlines()[0].split(",")]
    return dict(zip(_GPU_FIELDS, fields, strict=False))


def _entries(folder: Path, pattern: str) -> Sequence[Path]:
    return sorted(folder.glob(pattern))


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _said(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
