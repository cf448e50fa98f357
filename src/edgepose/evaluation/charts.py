# SPDX-License-Identifier: Apache-2.0
"""The two pictures of a calibration, as SVG for a page.

Numbers are not made here: see `edgepose.evaluation.calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from edgepose.evaluation.calibration import Calibration

__all__ = ["reliability_chart", "spread_chart"]

_SIZE = 300.0  # of the square that is plotted in
_LEFT, _TOP, _RIGHT, _BOTTOM = 62.0, 14.0, 14.0, 48.0
_DOT = 3.5
_MARKS = ((1, "1 std"), (2, "2 std"))


def reliability_chart(calibration: Calibration, title: str) -> str:
    """Share of errors found within k standard deviations over the share that a normal distribution has.

    On the diagonal the standard deviations are right; below it the model is too sure of itself.
    """
    curve = [(0.0, 0.0), *calibration.curve]
    parts = [_frame(title, "expected share of errors", "found share")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [_tick(tick, f"{tick:g}", down=False), _tick(tick, f"{tick:g}", down=True)]
    parts.append(_line([(0, 0), (1, 1)], "diagonal"))
    parts.append(_line(curve, "curve"))
    for sigmas, label in _MARKS:
        found = calibration.within_1 if sigmas == 1 else calibration.within_2
        if math.isfinite(found):
            expected = math.erf(sigmas / math.sqrt(2))
            parts.append(_dot(expected, found, f"{label}: {found:.1%} found, {expected:.1%} expected"))
    return _svg(parts)


def spread_chart(calibration: Calibration, title: str) -> str:
    """Root mean square error over reported standard deviation, both logarithmic, a dot for each tenth."""
    groups = [group for group in calibration.groups if group.std > 0 and group.error > 0]
    values = [value for group in groups for value in (group.std, group.error)]
    unit = calibration.unit
    parts = [_frame(title, f"reported standard deviation, {unit}", f"error, root mean square, {unit}")]
    if values:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        high = max(high, low + 1)
        place = [((math.log10(g.std) - low), (math.log10(g.error) - low)) for g in groups]
        for power in range(low, high + 1):
            at = (power - low) / (high - low)
            parts += [_tick(at, f"{10.0**power:g}", down=False), _tick(at, f"{10.0**power:g}", down=True)]
        parts.append(_line([(0, 0), (1, 1)], "diagonal"))
        scaled = [(x / (high - low), y / (high - low)) for x, y in place]
        parts.append(_line(scaled, "curve"))
        for (x, y), group in zip(scaled, groups, strict=True):
            parts.append(
                _dot(
                    x, y, f"std {group.std:.3g} {unit}, error {group.error:.3g} {unit}, {group.count} answers"
                )
            )
    return _svg(parts)


def _svg(parts: Sequence[str]) -> str:
    width, height = _LEFT + _SIZE + _RIGHT, _TOP + _SIZE + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'width="{width:g}" height="{height:g}">{"".join(parts)}</svg>'
    )


def _frame(title: str, across: str, up: str) -> str:
    middle, bottom = _LEFT + _SIZE / 2, _TOP + _SIZE
    return (
        f"<title>{escape(title)}</title>"
        f'<rect class="plot" x="{_LEFT:g}" y="{_TOP:g}" width="{_SIZE:g}" height="{_SIZE:g}"/>'
        f'<text x="{middle:g}" y="{bottom + 38:g}" text-anchor="middle">{escape(across)}</text>'
        f'<text transform="translate(14 {_TOP + _SIZE / 2:g}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
    )


def _tick(at: float, label: str, *, down: bool) -> str:
    if down:
        x, y = _place(at, 0)
        return (
            f'<path class="grid" d="M{x:.1f} {y:.1f}V{_TOP:g}"/>'
            f'<text x="{x:.1f}" y="{y + 17:.1f}" text-anchor="middle">{label}</text>'
        )
    x, y = _place(0, at)
    return (
        f'<path class="grid" d="M{x:.1f} {y:.1f}H{_LEFT + _SIZE:g}"/>'
        f'<text x="{x - 7:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _line(points: Sequence[tuple[float, float]], kind: str) -> str:
    if not points:
        return ""
    text = " ".join("{:.1f},{:.1f}".format(*_place(x, y)) for x, y in points)
    return f'<polyline class="{kind}" points="{text}"/>'


def _dot(x: float, y: float, label: str) -> str:
    across, down = _place(x, y)
    return f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{_DOT:g}"><title>{escape(label)}</title></circle>'


def _place(x: float, y: float) -> tuple[float, float]:
    """Pixels of a point of the unit square, whose origin is at the bottom left."""
    return _LEFT + _SIZE * x, _TOP + _SIZE * (1 - y)
