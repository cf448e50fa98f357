# SPDX-License-Identifier: Apache-2.0
"""What the tables of all benchmarks say alike: the machine, and figures with their spread.

The tables themselves do not belong here.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

__all__ = ["machine_line", "mean_and_spread", "span", "table"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def span(values: Sequence[float], digits: int) -> str:
    """The figures of other sets."""
    return f"{len(values)} sets: {min(values):.{digits}f} to {max(values):.{digits}f}"


def mean_and_spread(values: Sequence[float]) -> str:
    """Over seeds; millimetres are written as centimetres."""
    mean = statistics.fmean(values)
    if mean > 10:  # millimetres
        mean, values, unit, digits = mean / 10, [value / 10 for value in values], " cm", 1
    else:
        unit, digits = "", 3
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}{unit}"


def machine_line(machine: dict[str, Any], limits: Sequence[dict[str, float]]) -> str:
    """What was measured on, and the limits that were measured beside it."""
    packages = machine["packages"]
    return (
        f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores, "
        f"{machine['memory_gb']:.0f} GB, {', '.join(machine['instructions'])}; ONNX Runtime "
        f"{packages['onnxruntime']}, PyTorch {packages['torch']}. Measured in the same run: memory read at "
        f"{_each(limits, 'memory_read_gb_per_s')} GB/s, float32 matrix product at "
        f"{_each(limits, 'float32_matmul_gflop_per_s')} GFLOP/s."
    )


def _each(limits: Sequence[dict[str, float]], name: str) -> str:
    """The figure of each size, in the order of the rows."""
    return " and ".join(str(limit[name]) for limit in limits)
