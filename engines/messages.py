# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's libraries say, made readable.

Which message belongs to which node does not belong here: see `edgepose.engines.compiler`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["abridged", "without_noise"]

_CODE = re.compile(r"(\[[\w.:]+\] ?)?(I?\w+::\w+: )?Error Code \d+: ")
_NO_GPU = re.compile(r"(\[[\w.:]+\] ?)?Error Code 1: Cuda Runtime \(.*?\(cudaError [^)]*\)\)")
_SOURCE = re.compile(r" ?(In [\w<>:]+ )?at /_src/[\w/.]+:\d+")


def without_noise(line: str) -> str:
    """What the library says, less its error codes, its source lines, and its lament about a missing GPU."""
    text = _NO_GPU.sub("", " ".join(line.split()))
    return _SOURCE.sub("", _CODE.sub("", text)).strip()


def abridged(shapes: Mapping[str, object]) -> str:
    """Shapes of the inputs; of those of all layers the first."""
    return ", ".join(
        f"{name} {shape}" for name, shape in shapes.items() if not re.search(r"\.[1-9]\d*$", name)
    )
