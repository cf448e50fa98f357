# SPDX-License-Identifier: Apache-2.0
"""What `locate` returns: a list of poses that knows what it cost.

One person's pose is in `edgepose.pose`; how it is found does not belong here, nor how it is drawn: see
`edgepose.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepose.keypoint import Keypoint, finite_or_none
from edgepose.pose import Pose

if TYPE_CHECKING:
    from edgepose.images import ImageSource

__all__ = ["Drafts", "Keypoint", "Localization", "Passes", "Pose"]


@dataclass(frozen=True, slots=True)
class Passes:
    """How many times each graph ran; sums with `+`."""

    vision: int = 0
    """Runs of the vision encoder: one per person."""
    prefix: int = 0
    """Runs of the decoder over the part of the prompt that all questions share, the image included."""
    suffix: int = 0
    """Runs of the decoder over the questions' own parts."""
    decode: int = 0
    """Runs of the decoder over answer tokens."""

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.vision + other.vision,
            self.prefix + other.prefix,
            self.suffix + other.suffix,
            self.decode + other.decode,
        )

    def to_json(self) -> dict[str, int]:
        """Value for `json.dumps`."""
        return {"vision": self.vision, "prefix": self.prefix, "suffix": self.suffix, "decode": self.decode}


@dataclass(frozen=True, slots=True)
class Drafts:
    """What guesses of answers were worth, in tokens; sums with `+`. What the form forces is not counted."""

    offered: int = 0
    """Guesses that the model was asked about; one is offered again where something before it was wrong."""
    accepted: int = 0
    """Of these, what the model said too: tokens that needed no pass of their own."""
    free: int = 0
    """Tokens that the model said in all."""

    def __add__(self, other: Drafts) -> Drafts:
        return Drafts(self.offered + other.offered, self.accepted + other.accepted, self.free + other.free)

    def to_json(self) -> dict[str, int]:
        """Value for `json.dumps`."""
        return {"offered": self.offered, "accepted": self.accepted, "free": self.free}


class Localization(list[Pose]):
    """The poses of one call, in the order of the boxes, and what they cost."""

    passes: Passes
    """Graph runs of the whole call."""

    drafts: Drafts
    """What the previous frame's answers were worth; only `Localizer.track` offers any."""

    timings_ms: dict[str, float]
    """Milliseconds per stage, summed over people; `total` is the whole call. A GPU times its own stages."""

    def __init__(
        self,
        poses: Iterable[Pose] = (),
        *,
        passes: Passes | None = None,
        timings_ms: dict[str, float] | None = None,
        drafts: Drafts | None = None,
    ) -> None:
        super().__init__(poses)
        self.passes = Passes() if passes is None else passes
        self.timings_ms = {} if timings_ms is None else dict(timings_ms)
        self.drafts = Drafts() if drafts is None else drafts

    def to_json(self, *, trace: bool = False) -> dict[str, Any]:
        """Value for `json.dumps`: poses, passes, timings_ms, and drafts where any were offered.

        Numbers that are not finite become None.
        """
        value: dict[str, Any] = {
            "poses": [pose.to_json(trace=trace) for pose in self],
            "passes": self.passes.to_json(),
            "timings_ms": {stage: finite_or_none(time) for stage, time in self.timings_ms.items()},
        }
        if self.drafts.offered:
            value["drafts"] = self.drafts.to_json()
        return value

    def draw(
        self, image: ImageSource, *, scale: float = 1.0, labels: bool | None = None, std: bool = True
    ) -> NDArray[np.uint8]:
        """Like `Pose.draw`, all people in one picture."""
        from edgepose.drawing import draw_poses

        return draw_poses(image, self, scale=scale, labels=labels, std=std)

    def __repr__(self) -> str:
        total = self.timings_ms.get("total")
        took = "" if total is None else f", {total:.0f} ms"
        return f"Localization({super().__repr__()}, {self.passes}{took})"
