# SPDX-License-Identifier: Apache-2.0
"""What a build or a check has to tell, for people and for continuous integration.

How it is printed does not belong here: see `edgepose.engines.texts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgepose.bundle import Bundle
from edgepose.engine_check import Platform
from edgepose.engine_component import Component
from edgepose.engines.memory import ComponentMemory, MemoryEstimate
from edgepose.records import write_value

__all__ = ["BuildReport", "ComponentReport"]


@dataclass(frozen=True, slots=True)
class ComponentReport:
    """One graph."""

    status: Literal["built", "kept", "checked"]
    seconds: float
    """To compile it, whenever that was."""
    bytes: int
    """Of the engine."""
    profiles: int
    device_memory: int = -1
    """Bytes of activations, as the compiler says; -1 where nothing was compiled or it said nothing."""
    peak_rss: int = 0
    """Most memory that the process has taken by the end of this component, bytes."""

    @classmethod
    def of(cls, component: Component, status: Literal["built", "kept"], *, peak: int = 0) -> ComponentReport:
        """From the sidecar's entry."""
        return cls(
            status, component.seconds, component.bytes, len(component.profiles), component.device_memory, peak
        )


@dataclass(frozen=True, slots=True)
class BuildReport:
    """A build or a check."""

    status: Literal["built", "up to date", "checked", "begun"]
    recipe: str
    bundle: str
    family: str
    precision: str
    out: str
    platform: Platform
    compiler: str
    """Library and version that worked; another than the platform's where a check was made away from it."""
    components: Mapping[str, ComponentReport]
    estimates: Mapping[str, ComponentMemory]
    """By graph; empty where nothing had to be built."""
    build_memory: int
    """Estimate, bytes; 0 where nothing had to be built."""
    run_memory: int
    """Estimate, bytes; likewise."""
    seconds: float

    @classmethod
    def begin(
        cls,
        recipe: str,
        bundle: Bundle,
        platform: Platform,
        compiler: str,
        out: Path,
        estimate: MemoryEstimate | None,
    ) -> BuildReport:
        """What is known before anything is built."""
        manifest = bundle.manifest
        return cls(
            "begun",
            recipe,
            str(bundle.path),
            manifest.family,
            manifest.precision.name,
            str(out),
            platform,
            compiler,
            {},
            {} if estimate is None else estimate.components,
            0 if estimate is None else estimate.build,
            0 if estimate is None else estimate.run,
            0.0,
        )

    def end(
        self,
        status: Literal["built", "up to date", "checked"],
        components: Mapping[str, ComponentReport],
        seconds: float,
    ) -> BuildReport:
        """The whole report."""
        return replace(self, status=status, components=components, seconds=round(seconds, 3))

    def to_json(self) -> dict[str, Any]:
        """The value to pass to `json.dumps`."""
        written: dict[str, Any] = write_value(self)
        return written
