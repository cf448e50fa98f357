# SPDX-License-Identifier: Apache-2.0
"""Which seeds belong to training and which to evaluation: ranges that do not meet.

A set for evaluation is nothing but a seed: whoever writes it anew gets the same people.
"""

from __future__ import annotations

from edgepose.errors import InvalidInputError

__all__ = ["EVALUATION_SEEDS", "TRAINING_SEEDS", "evaluation_seed", "training_seed"]

TRAINING_SEEDS = 1 << 62
"""Training draws from seeds 0 to this, exclusive."""

EVALUATION_SEEDS = 1 << 20
"""There are so many seeds for evaluation; the n-th is `TRAINING_SEEDS + n`."""


def evaluation_seed(number: int) -> int:
    """The generator's seed of the n-th evaluation set, which no step of a training can draw.

    Raises:
        InvalidInputError: the number is out of range.
    """
    if not 0 <= number < EVALUATION_SEEDS:
        raise InvalidInputError(
            f"[seed] expected the number of an evaluation set, 0 to {EVALUATION_SEEDS - 1}; got {number}; "
            "pick another"
        )
    return TRAINING_SEEDS + number


def training_seed(seed: int, step: int) -> int:
    """A seed of its own for each step of each training, below `TRAINING_SEEDS`.

    Args:
        seed: of the training, 0 or above.
        step: of the training, 0 or above.

    Raises:
        InvalidInputError: one of them is negative.
    """
    if seed < 0 or step < 0:
        raise InvalidInputError(
            f"[seed] expected seed and step of 0 or above; got {seed} and {step}; count from 0"
        )
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % (1 << 64)
    mixed ^= mixed >> 31
    return mixed * 0xD6E8FEB86659FD93 % (1 << 64) % TRAINING_SEEDS
