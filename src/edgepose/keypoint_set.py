# SPDX-License-Identifier: Apache-2.0
"""What a set of keypoints is: names in order, lines between them, left and right.

The sets themselves do not belong here: see `edgepose.keypoints` and `edgepose.skeleton`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.errors import InvalidInputError

__all__ = ["KeypointSet", "side_of"]


@dataclass(frozen=True, slots=True)
class KeypointSet:
    """An ordered list of keypoints that belong together.

    Raises:
        InvalidInputError: names repeat, or an edge or pair names a keypoint that is not in the set.
    """

    name: str
    """Name in `KEYPOINT_SETS`, for example `coco17`."""

    keypoints: tuple[str, ...]
    """Keypoint names in the order of the data set."""

    edges: tuple[tuple[str, str], ...] = ()
    """Pairs of names joined by a line in drawings."""

    pairs: tuple[tuple[str, str], ...] = ()
    """(left, right) names that change places when an image is mirrored."""

    def __post_init__(self) -> None:
        repeated = sorted({n for n in self.keypoints if self.keypoints.count(n) > 1})
        if repeated or not self.keypoints:
            raise InvalidInputError(
                f"[keypoint set {self.name!r}] expected at least one name, each once; got "
                f"{', '.join(repeated) + ' more than once' if repeated else 'none'}; list each keypoint once"
            )
        unknown = sorted({n for ends in self.edges + self.pairs for n in ends if n not in self.keypoints})
        if unknown:
            raise InvalidInputError(
                f"[keypoint set {self.name!r}] expected edges and pairs between keypoints of the set; got "
                f"{', '.join(unknown)}; add the name to the set or drop the edge"
            )

    def __len__(self) -> int:
        return len(self.keypoints)


def side_of(name: str) -> str:
    """`left`, `right` or `middle`, read off the first word of the name."""
    first = name.replace("_", " ").split(" ", 1)[0].lower()
    return first if first in ("left", "right") else "middle"
