# SPDX-License-Identifier: Apache-2.0
"""What an engine directory holds, and whether it fits this machine and a bundle.

What must agree is decided in `edgepose.engine`.
"""

from __future__ import annotations

import os
import platform as host
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.bundle import Bundle
from edgepose.engine import EngineManifest
from edgepose.engine_check import Difference, Platform
from edgepose.engines.machine import find_gpu
from edgepose.errors import BackendUnavailableError
from edgepose.records import write_value
from edgepose.tensorrt_library import load_library

__all__ = ["Inspection", "inspect_engines"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """An engine directory against this machine, and against a bundle where one is named."""

    path: str
    manifest: EngineManifest
    here: Platform
    """What this machine has; None where it has not."""
    differences: tuple[Difference, ...]
    """Everything that keeps the engines from running here with that bundle."""
    bundle: str
    """The bundle that was named; else the one that they were built from."""
    missing: tuple[str, ...]
    """What this machine lacks altogether."""

    @property
    def fits(self) -> bool:
        """Whether they would run."""
        return not self.differences and not self.missing

    def to_json(self) -> dict[str, Any]:
        """The value to pass to `json.dumps`."""
        return {
            "path": self.path,
            "fits": self.fits,
            "differences": write_value(self.differences),
            "missing": list(self.missing),
            "here": write_value(self.here),
            "engine": self.manifest.to_json(),
        }


def inspect_engines(
    directory: str | os.PathLike[str], *, bundle: str | os.PathLike[str] | None = None
) -> Inspection:
    """Look at an engine directory without deserializing anything.

    Args:
        directory: written by `edgepose build`.
        bundle: to compare with, if any.

    Raises:
        EngineMismatchError: it is no engine directory, is damaged, or too new.
        BundleError: the bundle is damaged or too new.
    """
    root = Path(directory)
    manifest = EngineManifest.read(root)
    manifest.check_hashes(root)
    here = _here(manifest)
    missing = []
    if here.runtime is None:
        missing.append(f"{manifest.platform.runtime} is not installed")
    if here.compute_capability is None:
        missing.append("no GPU")
    opened = None if bundle is None else Bundle.open(bundle)
    named = manifest.bundle.path if opened is None else str(opened.path)
    differences = tuple(manifest.differences(here, opened))
    return Inspection(str(root), manifest, here, differences, named, tuple(missing))


def _here(manifest: EngineManifest) -> Platform:
    gpu = find_gpu()
    wanted = manifest.platform.runtime
    try:
        library = None if wanted is None else load_library(wanted)
    except BackendUnavailableError:
        library = None
    return Platform(
        runtime=None if library is None else library.name,
        runtime_version=None if library is None else library.version,
        compute_capability=None if gpu is None else gpu.compute_capability,
        device=None if gpu is None else gpu.device,
        driver=None if gpu is None else gpu.driver,
        cuda=None if gpu is None else gpu.cuda,
        os=host.system(),
        arch=host.machine(),
    )
