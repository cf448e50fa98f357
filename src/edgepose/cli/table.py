# SPDX-License-Identifier: Apache-2.0
"""Poses as a table for people.

What programs read is `to_json` of the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgepose.results import Keypoint, Localization

__all__ = ["table"]

_Column = tuple[str, int, str]
"""Heading, width, format."""

_PLANE: tuple[_Column, ...] = (("x px", 8, ".1f"), ("y px", 8, ".1f"), ("+- x", 6, ".1f"), ("+- y", 6, ".1f"))
_DEPTH: tuple[_Column, ...] = (("depth mm", 8, ".1f"), ("+- mm", 6, ".1f"))
_SPACE: tuple[_Column, ...] = (
    ("X m", 7, ".3f"),
    ("Y m", 7, ".3f"),
    ("Z m", 7, ".3f"),
    ("+- X", 6, ".3f"),
    ("+- Y", 6, ".3f"),
    ("+- Z", 6, ".3f"),
    ("2D-3D px", 8, ".1f"),
)
_CONFIDENCE: tuple[_Column, ...] = (("confidence", 10, ".3f"),)


def table(located: Localization) -> str:
    """All poses, the passes and the time."""
    lines = []
    for number, pose in enumerate(located, start=1):
        box = ", ".join(f"{value:g}" for value in pose.box)
        lines.append(f"person {number}  box ({box})  score {pose.score:.3f}")
        width = max(len(name) for name in ("keypoint", *pose.names))
        columns = _columns(pose.keypoints)
        lines.append("  ".join([f"  {'keypoint':{width}}", *(f"{head:>{w}}" for head, w, _ in columns)]))
        for point in pose:
            if not point.valid and not np.isfinite(point.xyz).any():
                lines.append(f"  {point.name:{width}}  not answered")
                continue
            cells = (f"{value:{w}{kind}}" for value, (_, w, kind) in zip(_cells(point), columns, strict=True))
            outside = "" if point.valid else "  at the limit of what can be said"
            lines.append("  ".join([f"  {point.name:{width}}", *cells]) + outside)
    passes = "  ".join(f"{name} {count}" for name, count in located.passes.to_json().items())
    lines.append(f"passes  {passes}")
    if "total" in located.timings_ms:
        lines.append(f"time    {located.timings_ms['total']:.1f} ms")
    return "\n".join(lines)


def _columns(points: Sequence[Keypoint]) -> tuple[_Column, ...]:
    if any(point.metric for point in points):
        return (*_PLANE, *_SPACE, *_CONFIDENCE)
    if any(point.dimensions == 3 for point in points):
        return (*_PLANE, *_DEPTH, *_CONFIDENCE)
    return (*_PLANE, *_CONFIDENCE)


def _cells(point: Keypoint) -> tuple[float, ...]:
    plane = (*point.xy, *point.std)
    if point.metric:
        return (*plane, *point.xyz, *point.xyz_std, point.reprojection_error, point.confidence)
    if point.dimensions == 3:
        return (*plane, point.depth, point.depth_std, point.confidence)
    return (*plane, point.confidence)
