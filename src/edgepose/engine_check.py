# SPDX-License-Identifier: Apache-2.0
"""What engines and machines are, as far as they must fit each other, and where two differ.

Finding out what a machine has does not belong here: backends and `edgepose inspect` do that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Device", "Difference", "Platform", "platform_differences"]


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU."""

    name: str
    """As CUDA names it."""
    multiprocessors: int
    """AGX, NX and Nano of one generation differ in these, and an engine of one is not one of another."""
    memory: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that an engine belongs to. As what a machine has: None where it is not known."""

    runtime: Literal["tensorrt", "tensorrt_rtx"] | None
    runtime_version: str | None
    """`10.3.0`, `1.7.1.116`."""
    compute_capability: str | None
    """`8.7`."""
    device: Device | None
    """None where engines were built without one: they then fit every GPU of their compute capability."""
    driver: str | None
    """Version of the GPU's driver; recorded, not compared."""
    cuda: str | None
    """`12.6`; only the number before the point is compared."""
    os: str | None
    """`Linux`."""
    arch: str | None
    """`aarch64`, `x86_64`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that does not fit."""

    field: str
    expected: str
    """As the engines were built."""
    found: str
    """What is here."""


def platform_differences(built: Platform, here: Platform) -> list[Difference]:
    """Where a machine differs from the one that engines were built for.

    Not compared is what either side does not know, the driver, and the amount of memory. Engines belong to
    one version of their runtime and to one model of GPU; TensorRT-RTX engines that were built without a GPU
    belong to a compute capability instead.
    """
    pairs: list[tuple[str, object, object]] = [
        ("runtime", built.runtime, here.runtime),
        ("runtime_version", built.runtime_version, here.runtime_version),
        ("compute_capability", built.compute_capability, here.compute_capability),
        ("cuda (major)", _major(built.cuda), _major(here.cuda)),
        ("os", built.os, here.os),
        ("arch", built.arch, here.arch),
    ]
    if built.device is not None and here.device is not None:
        pairs += [
            ("device.name", built.device.name, here.device.name),
            ("device.multiprocessors", built.device.multiprocessors, here.device.multiprocessors),
        ]
    return [
        Difference(field, str(expected), str(found))
        for field, expected, found in pairs
        if expected is not None and found is not None and expected != found
    ]


def _major(version: str | None) -> str | None:
    return None if version is None else version.partition(".")[0]
