# SPDX-License-Identifier: Apache-2.0
"""What this machine has that engines belong to: GPU, driver, CUDA, as far as they can be asked.

What must agree does not belong here: see `edgepose.engine_check`.
"""

from __future__ import annotations

import ctypes
import platform as host
import re
from dataclasses import dataclass
from pathlib import Path

from edgepose.engine_check import Device, Platform
from edgepose.engines.recipe import Recipe
from edgepose.errors import BackendUnavailableError, EngineMismatchError
from edgepose.tensorrt_library import Library

__all__ = ["Gpu", "elsewhere", "find_gpu", "platform_for"]

_MULTIPROCESSORS, _MAJOR, _MINOR, _INTEGRATED = 16, 75, 76, 18
"""Numbers of device attributes in CUDA's driver interface."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU of this machine."""

    device: Device
    compute_capability: str
    cuda: str
    """Newest CUDA that the driver knows, `12.6`."""
    driver: str | None
    """See `edgepose.engine_check.Platform`."""
    integrated: bool
    """Whether it shares the host's memory."""


def find_gpu() -> Gpu | None:
    """The first GPU by CUDA's driver; None where there is no driver or no GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, version = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDriverGetVersion(ctypes.byref(version))

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return Gpu(
        Device(name.value.decode(), attribute(_MULTIPROCESSORS), memory.value),
        f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        f"{version.value // 1000}.{version.value % 1000 // 10}",
        _driver(),
        bool(attribute(_INTEGRATED)),
    )


def elsewhere(recipe: Recipe) -> Platform:
    """The platform of a recipe's target, as far as the recipe says."""
    target = recipe.target
    return Platform(target.runtime, None, target.compute_capability, None, None, None, None, None)


def platform_for(library: Library, recipe: Recipe, gpu: Gpu | None) -> Platform:
    """The platform that engines built here by a recipe belong to.

    Raises:
        BackendUnavailableError: the recipe's runtime needs a GPU to build, and there is none.
        EngineMismatchError: the GPU here is of another compute capability than the recipe's, or the runtime
            cannot build for it.
    """
    wanted = recipe.target.compute_capability
    if library.name == "tensorrt":
        if gpu is None:
            raise BackendUnavailableError(
                f"[{library.name}] expected a GPU, which TensorRT needs to build engines; got none; build on "
                "the board itself, or try the bundle here with --recipe rtx-ci, which needs no GPU"
            )
        if wanted is not None and wanted != gpu.compute_capability:
            raise EngineMismatchError(
                f"[recipe {recipe.name}] expected a GPU of compute capability {wanted}; got "
                f"{gpu.compute_capability} ({gpu.device.name}); build on the board that the recipe is for, "
                "or name a recipe for this one"
            )
        device: Device | None = gpu.device
        capability: str | None = gpu.compute_capability
    else:
        # Ahead-of-time engines: for every card of the compute capability, whichever is here.
        device = None
        capability = wanted or (None if gpu is None else gpu.compute_capability)
        names = library.module.ComputeCapability.__members__
        sm = "" if capability is None else "SM" + capability.replace(".", "")
        if sm not in names:
            known = ", ".join(sorted(name for name in names if name.startswith("SM")))
            raise EngineMismatchError(
                f"[recipe {recipe.name}] expected a compute capability that {library.name} {library.version} "
                f"builds for ({known}); got {sm or 'none named, and no GPU here'}; mend "
                "target.compute_capability"
            )
    return Platform(
        runtime=library.name,
        runtime_version=library.version,
        compute_capability=capability,
        device=device,
        driver=None if gpu is None else gpu.driver,
        cuda=None if gpu is None else gpu.cuda,
        os=host.system(),
        arch=host.machine(),
    )


def _driver() -> str | None:
    """Version of the GPU's driver: `535.104.05`, or the release of Jetson's system, `R36.4.3`."""
    for file, pattern in (
        (Path("/proc/driver/nvidia/version"), r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s"),
        (Path("/etc/nv_tegra_release"), r"# (R\d+) \(release\), REVISION: ([\d.]+)"),
    ):
        try:
            found = re.search(pattern, file.read_text(encoding="utf-8"))
        except OSError:
            continue
        if found is not None:
            return ".".join(found.groups())
    return None
