# SPDX-License-Identifier: Apache-2.0
"""Colours and patterns of cloth, skin, hair and things: one row per material, drawn at random.

Light does not belong here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.solids import MATERIALS

__all__ = ["COLUMNS", "draw_materials", "hues", "pattern"]

COLUMNS: dict[str, slice] = {
    "first": slice(0, 3),
    "second": slice(3, 6),
    "wave": slice(6, 9),
    "bend": slice(9, 12),
    "cross": slice(12, 15),
    "phases": slice(15, 18),
    "warp": slice(18, 19),
    "crossed": slice(19, 20),
    "sharp": slice(20, 21),
    "shine": slice(21, 22),
    "fold": slice(22, 23),
}
"""Columns of the table: two colours; three wave vectors (radians per metre) with their phases; how far the
second bends the first, how much the third crosses it, how sharp the pattern's edges are; shine; folds."""

_WIDTH = 23
_SKINS = torch.tensor(
    [
        [0.96, 0.82, 0.73],
        [0.91, 0.73, 0.61],
        [0.85, 0.65, 0.50],
        [0.78, 0.57, 0.42],
        [0.65, 0.45, 0.32],
        [0.50, 0.33, 0.23],
        [0.37, 0.24, 0.17],
        [0.26, 0.17, 0.13],
    ]
)
_HAIRS = torch.tensor(
    [
        [0.06, 0.05, 0.05],
        [0.14, 0.09, 0.06],
        [0.28, 0.17, 0.10],
        [0.45, 0.30, 0.16],
        [0.75, 0.60, 0.36],
        [0.52, 0.22, 0.10],
        [0.60, 0.60, 0.60],
        [0.88, 0.87, 0.85],
    ]
)


def hues(draws: Draws, count: int, neutral: float) -> Tensor:
    """`(count, 3)` RGB: vivid, muted and, with probability `neutral`, grey colours."""
    hue = draws.uniform((count, 1)) * 6
    saturation = torch.where(
        draws.chance((count, 1), neutral), draws.uniform((count, 1), (0, 0.12)), draws.uniform((count, 1))
    )
    value = draws.uniform((count, 1), (0.05, 1.0))
    offset = torch.tensor([5.0, 3.0, 1.0], device=draws.device)
    k = (offset + hue) % 6
    return value * (1 - saturation * torch.minimum(k, 4 - k).clamp(0, 1))


def _waves(draws: Draws, count: int, span: tuple[float, float]) -> Tensor:
    """`(count, 3)` wave vectors of wavelengths in `span` metres; half of them along one of the axes."""
    free = draws.normal((count, 3))
    axis = torch.eye(3, device=draws.device)[draws.choice((count,), (1.0, 2.0, 0.6))]
    chosen = torch.where(draws.chance((count, 1), 0.6), axis, torch.nn.functional.normalize(free, dim=1))
    return chosen * (2 * math.pi) / draws.log_uniform((count, 1), span)


def _patterned(draws: Draws, count: int, span: tuple[float, float]) -> Tensor:
    """Rows without colours: patterns from plain to loud."""
    rows = torch.zeros(count, _WIDTH, device=draws.device)
    rows[:, COLUMNS["wave"]] = _waves(draws, count, span)
    rows[:, COLUMNS["bend"]] = _waves(draws, count, span)
    rows[:, COLUMNS["cross"]] = _waves(draws, count, span)
    rows[:, COLUMNS["phases"]] = draws.uniform((count, 3), (0, 2 * math.pi))
    rows[:, COLUMNS["warp"]] = draws.uniform((count, 1), (0.3, 3.0)) * draws.chance((count, 1), 0.5)
    rows[:, COLUMNS["crossed"]] = draws.uniform((count, 1)) * draws.chance((count, 1), 0.4)
    rows[:, COLUMNS["sharp"]] = draws.log_uniform((count, 1), (0.5, 8))
    rows[:, COLUMNS["shine"]] = draws.uniform((count, 1)) ** 3 * 0.5
    rows[:, COLUMNS["fold"]] = draws.uniform((count, 1), (0.0, 0.35))
    return rows


def draw_materials(draws: Draws, people: int, things: int) -> Tensor:
    """The scene's table of materials.

    Returns:
        `(people * len(MATERIALS) + things, 23)` float32: first each person's, in order, then the things'.
    """
    kinds = len(MATERIALS)
    cloth = _patterned(draws, people * kinds, (0.03, 0.4)).reshape(people, kinds, _WIDTH)
    base = hues(draws, people * kinds, 0.4).reshape(people, kinds, 3)
    second = hues(draws, people * kinds, 0.4).reshape(people, kinds, 3)
    # Most cloth is plain: its second colour is a shade of the first.
    plain = draws.chance((people, kinds, 1), 0.55)
    second = torch.where(plain, base * draws.uniform((people, kinds, 1), (0.8, 1.15)), second)

    def place(table: Tensor, power: float = 1.0) -> Tensor:
        """A colour between neighbours in a list; a power above 1 prefers the first."""
        spot = draws.uniform((people,)) ** power * (len(table) - 1.001)
        low = spot.long()
        table = table.to(draws.device)
        share = (spot - low)[:, None]
        return table[low] * (1 - share) + table[low + 1] * share

    def put(name: str, first: Tensor, shade: float, fold: float, shine: float) -> None:
        row = MATERIALS.index(name)
        base[:, row] = first
        second[:, row] = first * shade
        cloth[:, row, COLUMNS["fold"]] = fold
        cloth[:, row, COLUMNS["shine"]] = shine

    skin = place(_SKINS) * draws.uniform((people, 1), (0.9, 1.08)) + draws.normal((people, 3), 0.012)
    put("skin", skin, 0.93, 0.03, 0.12)
    hair = place(_HAIRS, 1.8) * draws.uniform((people, 1), (0.8, 1.2))
    put("hair", hair, 0.75, 0.25, 0.3)
    jeans = torch.tensor([0.22, 0.30, 0.45], device=draws.device) * draws.uniform((people, 1), (0.4, 1.7))
    dark = torch.full((people, 3), 0.09, device=draws.device) * draws.uniform((people, 1), (0.5, 3))
    bottom = MATERIALS.index("bottom")
    usual = draws.choice((people, 1), (0.5, 0.28, 0.22))
    base[:, bottom] = torch.where(usual == 1, jeans, torch.where(usual == 2, dark, base[:, bottom]))
    second[:, bottom] = torch.where(usual > 0, base[:, bottom] * 0.85, second[:, bottom])
    socks, shoes, top = (MATERIALS.index(name) for name in ("socks", "shoes", "top"))
    covered = draws.chance((people, 1), 0.4)
    base[:, socks] = torch.where(covered, skin, base[:, socks])
    second[:, socks] = base[:, socks]
    barefoot = draws.chance((people, 1), 0.12)
    base[:, shoes] = torch.where(barefoot, skin, base[:, shoes])
    second[:, shoes] = torch.where(barefoot, skin, second[:, shoes])
    # Overalls, swimsuits, dresses, bare chests.
    same = draws.choice((people, 1), (0.86, 0.1, 0.04))
    for table in (base, second):
        table[:, bottom] = torch.where(same == 1, table[:, top], table[:, bottom])
        table[:, top] = torch.where(same == 2, skin, table[:, top])
    cloth[..., COLUMNS["first"]] = base.clamp(0.01, 1)
    cloth[..., COLUMNS["second"]] = second.clamp(0.01, 1)

    rows = _patterned(draws, things, (0.05, 1.0))
    rows[:, COLUMNS["first"]] = hues(draws, things, 0.35)
    loud = draws.chance((things, 1), 0.5)
    rows[:, COLUMNS["second"]] = torch.where(
        loud, hues(draws, things, 0.35), rows[:, COLUMNS["first"]] * 0.85
    )
    # Things in the colours of people, so that colour alone does not tell a person.
    alike = draws.chance((things, 1), 0.25)
    shades = _SKINS.to(draws.device)[draws.choice((things,), [1.0] * len(_SKINS))]
    rows[:, COLUMNS["first"]] = torch.where(alike, shades, rows[:, COLUMNS["first"]])
    return torch.cat([cloth.reshape(-1, _WIDTH), rows])


def pattern(rows: Tensor, points: Tensor) -> Tensor:
    """Colours at points.

    Args:
        rows: `(N, 23)`, the material of each point.
        points: `(N, 3)` metres, in the solid's frame.

    Returns:
        `(N, 3)` RGB, 0 to 1.
    """
    phases = rows[:, COLUMNS["phases"]]

    def wave(name: str, place: int) -> Tensor:
        return (points * rows[:, COLUMNS[name]]).sum(1, keepdim=True) + phases[:, place : place + 1]

    first = (wave("wave", 0) + rows[:, COLUMNS["warp"]] * wave("bend", 1).sin()).sin()
    crossed = rows[:, COLUMNS["crossed"]]
    first = first * (1 - crossed + crossed * wave("cross", 2).sin())
    share = (0.5 + 0.5 * first * rows[:, COLUMNS["sharp"]]).clamp(0, 1)
    return rows[:, COLUMNS["first"]] * (1 - share) + rows[:, COLUMNS["second"]] * share
