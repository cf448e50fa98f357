# SPDX-License-Identifier: Apache-2.0
"""What bodies are made of: solids of many people, one of each kind per person, and the names of their stuffs.

Where on a body they are does not belong here: see `trunk`, `limbs` and `head`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepose.training.rendering.primitives import Cones
from edgepose.training.rendering.vectors import frame_along

__all__ = ["MATERIALS", "PARTS", "Solids"]

MATERIALS = ("skin", "top", "bottom", "shoes", "hair", "cap", "accent", "socks")
"""Materials of a person, in the order of the rows of the scene's table."""
SKIN, TOP, BOTTOM, SHOES, HAIR, CAP, ACCENT, SOCKS = range(len(MATERIALS))

PARTS = ("trunk", "limb", "face", "other")
"""What the shader must know of a solid."""
TRUNK, LIMB, FACE, OTHER = range(len(PARTS))


class Solids:
    """Collects solids of P people, one of each kind per person."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.count = count
        self.device = device
        self.columns: dict[str, list[Tensor]] = {
            name: []
            for name in ("origin", "axes", "stretch", "length", "radii", "kinds", "cut", "part", "on")
        }

    def full(self, value: Tensor | float) -> Tensor:
        if isinstance(value, Tensor):
            return value.expand(self.count)
        return torch.full((self.count,), value, device=self.device)

    def add(
        self,
        start: Tensor,
        end: Tensor,
        front: Tensor,
        radii: tuple[Tensor | float, Tensor | float],
        *,
        stretch: tuple[Tensor | float, Tensor | float] = (1.0, 1.0),
        kinds: tuple[int, int] = (SKIN, SKIN),
        cut: Tensor | float = 10.0,
        part: int = LIMB,
        on: Tensor | None = None,
    ) -> None:
        """A capsule from `start` to `end`, stretched across and towards `front`.

        Points before `cut` metres along it have the first of `kinds`, the others the second.
        """
        along = end - start
        put = self.columns
        put["origin"].append(start)
        put["axes"].append(frame_along(along, front))
        put["stretch"].append(torch.stack([self.full(stretch[0]), self.full(1.0), self.full(stretch[1])], 1))
        put["length"].append(along.norm(dim=1).clamp(min=1e-3))
        put["radii"].append(torch.stack([self.full(radii[0]), self.full(radii[1])], 1))
        put["kinds"].append(torch.tensor(kinds, device=self.device).expand(self.count, 2))
        put["cut"].append(self.full(cut))
        put["part"].append(torch.full((self.count,), part, dtype=torch.int64, device=self.device))
        put["on"].append(torch.ones(self.count, dtype=torch.bool, device=self.device) if on is None else on)

    def cones(self, image: Tensor, shown: Tensor) -> Cones:
        """The table, without solids that are off."""
        stacked = {name: torch.stack(parts, 1) for name, parts in self.columns.items()}
        person = torch.arange(self.count, device=self.device)[:, None].expand(stacked["on"].shape)
        rows = (stacked["on"] & shown[:, None]).reshape(-1).nonzero()[:, 0]

        def flat(values: Tensor) -> Tensor:
            return values.flatten(0, 1)[rows]

        owner = flat(person)
        kinds = flat(stacked["kinds"])
        return Cones(
            image=image[owner],
            origin=flat(stacked["origin"]),
            axes=flat(stacked["axes"]),
            stretch=flat(stacked["stretch"]),
            length=flat(stacked["length"]),
            radii=flat(stacked["radii"]),
            material=owner * len(MATERIALS) + kinds[:, 0],
            beyond=owner * len(MATERIALS) + kinds[:, 1],
            cut=flat(stacked["cut"]),
            owner=owner,
            part=flat(stacked["part"]),
        )
