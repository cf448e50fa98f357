# SPDX-License-Identifier: Apache-2.0
"""Skeletons: keypoint sets that are trees of joints, with names for their parts.

Where the joints of one person are does not belong here: see `edgepose.pose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgepose.errors import InvalidInputError
from edgepose.keypoint_set import KeypointSet

__all__ = ["SMPL22", "Skeleton"]


@dataclass(frozen=True, slots=True)
class Skeleton(KeypointSet):
    """A keypoint set whose keypoints are joints, each but the root hanging from another.

    Raises:
        InvalidInputError: as `KeypointSet`; the parents are not one tree in order, or a group names a joint
            that is not in the skeleton.
    """

    parents: tuple[int, ...] = ()
    """For each joint the place of the one it hangs from, which comes before it; -1 for the root, the first.
    Where `edges` is empty, they are the edges."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Names of joints by the name of a part of the body: what `keypoints=` takes to ask for that part."""

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        ordered = all(0 <= parent < joint for joint, parent in enumerate(self.parents) if joint)
        if len(self.parents) != count or self.parents[:1] != (-1,) or not ordered:
            raise InvalidInputError(
                f"[skeleton {self.name!r}] expected {count} parents: -1 for the first joint, then an earlier "
                f"joint each; got {self.parents}; order the joints from the root outwards"
            )
        if not self.edges:
            links = zip(self.parents, self.keypoints, strict=True)
            edges = tuple((self.keypoints[parent], joint) for parent, joint in links if parent >= 0)
            object.__setattr__(self, "edges", edges)
        KeypointSet.__post_init__(self)  # super() does not find the class that slots made
        unknown = sorted({n for names in self.groups.values() for n in names if n not in self.keypoints})
        if unknown:
            raise InvalidInputError(
                f"[skeleton {self.name!r}] expected groups of its joints; got {', '.join(unknown)}; add the "
                "joint or drop it from the group"
            )


SMPL22 = Skeleton(
    name="smpl22",
    keypoints=(
        "pelvis",
        "left_hip",
        "right_hip",
        "spine1",
        "left_knee",
        "right_knee",
        "spine2",
        "left_ankle",
        "right_ankle",
        "spine3",
        "left_foot",
        "right_foot",
        "neck",
        "left_collar",
        "right_collar",
        "head",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
    ),
    pairs=tuple(
        (f"left_{part}", f"right_{part}")
        for part in ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
    ),
    parents=(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19),
    groups={
        "left_arm": ("left_shoulder", "left_elbow", "left_wrist"),
        "right_arm": ("right_shoulder", "right_elbow", "right_wrist"),
        "upper_body": ("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
        "lower_body": ("left_hip", "right_hip", "left_knee", "right_knee"),
    },
)
"""The 22 body joints of SMPL without hands, in its order, with the groups that TAIHRI is evaluated on."""
