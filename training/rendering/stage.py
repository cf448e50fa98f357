# SPDX-License-Identifier: Apache-2.0
"""How busy scenes are: other people, things in front, who faces the camera.

Where cameras stand does not belong here: see `views`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.errors import InvalidInputError

__all__ = ["Stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands around: probabilities and numbers that differ between tasks.

    Raises:
        InvalidInputError: a probability is not from 0 to 1, or the weights of company are none or negative.
    """

    company: tuple[float, ...] = (0.45, 0.3, 0.25)
    """Weights of 0, 1, 2 ... other people in the image."""
    occluded: float = 0.2
    """Probability of a thing in front of the main person."""
    in_front: float = 0.18
    """Probability that another person stands nearer than the main one."""
    facing: float = 0.65
    """Share of main people who roughly face the camera."""
    tumbled: float = 0.08
    """Share of people who lie, fall or stand on their hands."""
    ground: float | None = None
    """Metres from the camera down to the floor; None puts the floor below the main person's feet."""
    anchor: tuple[float, float, float] | None = None
    """What things stand around, metres, camera frame; None for the main person."""

    def __post_init__(self) -> None:
        for name in ("occluded", "in_front", "facing", "tumbled"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(
                    f"[stage] expected {name} from 0 to 1; got {getattr(self, name)!r}; it is a probability"
                )
        if not self.company or min(self.company) < 0 or not sum(self.company) > 0:
            raise InvalidInputError(
                f"[stage] expected weights of 0, 1, 2 ... other people; got company {self.company}; "
                "pass (1.0,) for nobody else"
            )
