# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a scene: every choice is drawn here, on the CPU, from one generator.

What is drawn, and from which range, does not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Draws", "SteadyDraws"]

Span = tuple[float, float]


class Draws:
    """Random tensors from one seed; they are made on the CPU so that every device sees the same scene."""

    def __init__(self, seed: int | torch.Generator, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        if isinstance(seed, torch.Generator):
            self.generator = seed
        else:
            self.generator = torch.Generator(device="cpu")
            self.generator.manual_seed(seed)

    def _rows(self, shape: Sequence[int], make: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """What `make` makes of the shape, on this device."""
        return make(tuple(shape)).to(self.device)

    def uniform(self, shape: Sequence[int], span: Span = (0.0, 1.0)) -> Tensor:
        """Float32 in [low, high)."""
        low, high = span
        return self._rows(
            shape, lambda s: torch.rand(s, generator=self.generator, device="cpu") * (high - low) + low
        )

    def log_uniform(self, shape: Sequence[int], span: Span) -> Tensor:
        """Float32 in [low, high), each ratio equally likely; `low` is above 0."""
        low, high = span
        return self.uniform(shape, (math.log(low), math.log(high))).exp()

    def normal(self, shape: Sequence[int], sigma: float = 1.0, limit: float = 2.5) -> Tensor:
        """Float32 of mean 0, cut at `limit` standard deviations."""
        return self._rows(
            shape,
            lambda s: torch.randn(s, generator=self.generator, device="cpu").clamp_(-limit, limit) * sigma,
        )

    def chance(self, shape: Sequence[int], probability: float) -> Tensor:
        """Bool, True with that probability."""
        return self._rows(
            shape, lambda s: torch.rand(s, generator=self.generator, device="cpu") < probability
        )

    def choice(self, shape: Sequence[int], weights: Sequence[float]) -> Tensor:
        """Int64 places in `weights`, each as likely as its weight."""
        table = torch.tensor(list(weights), dtype=torch.float32, device="cpu")

        def make(rows: tuple[int, ...]) -> Tensor:
            drawn = torch.multinomial(table, math.prod(rows), replacement=True, generator=self.generator)
            return drawn.reshape(rows)

        return self._rows(shape, make)

    def signs(self, shape: Sequence[int]) -> Tensor:
        """Float32, -1 or 1."""
        return self.chance(shape, 0.5).float() * 2 - 1


class SteadyDraws(Draws):
    """Draws that are the same for all images of a batch: one place and the same people in each.

    The rows of everything drawn go from image to image, so one image's rows are drawn and repeated.
    """

    def __init__(self, seed: int | torch.Generator, images: int, device: torch.device | str = "cpu") -> None:
        super().__init__(seed, device)
        self.images = images

    def _rows(self, shape: Sequence[int], make: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        each = make((shape[0] // self.images, *shape[1:]))
        return each.repeat(self.images, *[1] * (len(shape) - 1)).to(self.device)
