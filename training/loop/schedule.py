# SPDX-License-Identifier: Apache-2.0
"""How long a run lasts and how fast it learns when: a budget of seconds or steps, and the numbers of AdamW.

Running the steps does not belong here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgepose.errors import InvalidInputError

__all__ = ["Schedule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A budget, and everything that follows from how much of it is spent.

    The learning rate rises over the first `warmup` of the budget, stays, and falls to zero over the last
    `cooldown` of it. A budget of seconds therefore ends with a finished model whatever the machine's speed;
    a budget of steps makes the same run on every machine. With both, the run ends with whichever is spent
    first.

    Raises:
        InvalidInputError: there is no budget, or a number is out of its range.
    """

    seconds: float | None = None
    """Wall-clock budget of training steps, evaluations and saving included; earlier runs of a resumed one
    count."""
    steps: int | None = None
    """Budget of optimizer steps."""
    learning_rate: float = 1e-3
    """Highest learning rate."""
    warmup: float = 0.03
    """Share of the budget over which the learning rate rises."""
    cooldown: float = 0.4
    """Share of the budget over which it falls."""
    decay: Literal["linear", "cosine"] = "linear"
    """Shape of the fall."""
    weight_decay: float = 0.05
    """Of matrices; biases, norms and tables of embeddings have none."""
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float | None = 1.0
    """Largest norm of the gradient."""
    ema: float | None = None
    """Decay of the moving average of the weights, per step; the average is evaluated and saved in their
    place."""
    accumulate: int = 1
    """Batches of one step."""
    seed: int = 0
    log_every: int = 10
    """Steps from one line of the log to the next."""
    evaluate_every: float = 0.1
    """Share of the budget from one evaluation to the next; the last is at the end. 0: never."""
    save_every: float = 0.05
    """Share of the budget from one saving of state and checkpoint to the next; the last is at the end."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Type of matrix products: bfloat16 by autocast, or float32; `auto` asks what the device is fast at."""

    def __post_init__(self) -> None:
        limits = [value for value in (self.seconds, self.steps) if value is not None]
        if not limits or min(limits) <= 0:
            raise InvalidInputError(
                f"[schedule] expected a budget above 0, in seconds or steps; got seconds={self.seconds}, "
                f"steps={self.steps}; pass one of them"
            )
        shares = {"warmup": self.warmup, "cooldown": self.cooldown, "evaluate_every": self.evaluate_every}
        wrong = [f"{name}={value}" for name, value in shares.items() if not 0 <= value <= 1]
        if not 0 < self.save_every <= 1:
            wrong.append(f"save_every={self.save_every}")
        if self.ema is not None and not 0 < self.ema < 1:
            wrong.append(f"ema={self.ema}")
        if wrong or self.warmup + self.cooldown > 1:
            raise InvalidInputError(
                "[schedule] expected shares of the budget between 0 and 1, warm-up and cool-down together at "
                f"most 1; got {', '.join(wrong) or f'{self.warmup} + {self.cooldown}'}; change them"
            )
        if self.learning_rate <= 0 or self.accumulate < 1 or self.log_every < 1:
            raise InvalidInputError(
                f"[schedule] expected learning_rate, accumulate and log_every above 0; got "
                f"{self.learning_rate}, {self.accumulate}, {self.log_every}; change them"
            )

    def spent(self, steps: int, seconds: float) -> float:
        """Share of the budget that is spent after so many steps and seconds; 1 or more at the end."""
        shares = []
        if self.steps is not None:
            shares.append(steps / self.steps)
        if self.seconds is not None:
            shares.append(seconds / self.seconds)
        return max(shares)

    def rate(self, spent: float) -> float:
        """Learning rate where that share of the budget is spent."""
        factor = 1.0
        if spent < self.warmup:
            factor = (spent + 0.02 * self.warmup) / (1.02 * self.warmup)
        left = max(0.0, 1.0 - spent)
        if left < self.cooldown:
            falling = left / self.cooldown
            factor = falling if self.decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * falling)
        return self.learning_rate * factor
