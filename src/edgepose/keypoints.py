# SPDX-License-Identifier: Apache-2.0
"""Keypoint sets of data sets, and how a set or a keypoint is found by its name.

What a set is does not belong here: see `edgepose.keypoint_set`. Nor what a model is told about its keypoints:
see `edgepose.keypoint_wording`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgepose.errors import InvalidInputError
from edgepose.keypoint_set import KeypointSet
from edgepose.skeleton import SMPL22

__all__ = ["COCO17", "H36M17", "KEYPOINT_SETS", "MPII16", "canonical_name", "keypoint_set", "matching_set"]


def _left_right(*parts: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"left {part}", f"right {part}") for part in parts)


def _limb(*chain: str) -> tuple[tuple[str, str], ...]:
    links = list(zip(chain[:-1], chain[1:], strict=True))
    return tuple((f"{side} {a}", f"{side} {b}") for side in ("left", "right") for a, b in links)


COCO17 = KeypointSet(
    name="coco17",
    keypoints=(
        "nose",
        "left eye",
        "right eye",
        "left ear",
        "right ear",
        "left shoulder",
        "right shoulder",
        "left elbow",
        "right elbow",
        "left wrist",
        "right wrist",
        "left hip",
        "right hip",
        "left knee",
        "right knee",
        "left ankle",
        "right ankle",
    ),
    edges=(
        ("nose", "left eye"),
        ("nose", "right eye"),
        *_limb("eye", "ear"),
        ("left shoulder", "right shoulder"),
        ("left hip", "right hip"),
        *_limb("wrist", "elbow", "shoulder", "hip", "knee", "ankle"),
    ),
    pairs=_left_right("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
)
"""The 17 keypoints of COCO, also of Human-Art, in annotation order."""

MPII16 = KeypointSet(
    name="mpii16",
    keypoints=(
        "right ankle",
        "right knee",
        "right hip",
        "left hip",
        "left knee",
        "left ankle",
        "pelvis",
        "thorax",
        "neck",
        "head_top",
        "right wrist",
        "right elbow",
        "right shoulder",
        "left shoulder",
        "left elbow",
        "left wrist",
    ),
    edges=(
        ("head_top", "neck"),
        ("neck", "thorax"),
        ("thorax", "pelvis"),
        ("thorax", "left shoulder"),
        ("thorax", "right shoulder"),
        ("pelvis", "left hip"),
        ("pelvis", "right hip"),
        *_limb("shoulder", "elbow", "wrist"),
        *_limb("hip", "knee", "ankle"),
    ),
    pairs=_left_right("shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
)
"""The 16 keypoints of the MPII Human Pose data set, in annotation order."""

H36M17 = KeypointSet(
    name="h36m17",
    keypoints=(
        "pelvis",
        "right hip",
        "right knee",
        "right ankle",
        "left hip",
        "left knee",
        "left ankle",
        "torso",
        "neck",
        "nose",
        "head_top",
        "left shoulder",
        "left elbow",
        "left wrist",
        "right shoulder",
        "right elbow",
        "right wrist",
    ),
    edges=(
        ("head_top", "nose"),
        ("nose", "neck"),
        ("neck", "torso"),
        ("torso", "pelvis"),
        ("neck", "left shoulder"),
        ("neck", "right shoulder"),
        ("pelvis", "left hip"),
        ("pelvis", "right hip"),
        *_limb("shoulder", "elbow", "wrist"),
        *_limb("hip", "knee", "ankle"),
    ),
    pairs=_left_right("shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
)
"""The 17 keypoints of Human3.6M as the published 3-D evaluation orders them."""

KEYPOINT_SETS: Mapping[str, KeypointSet] = {s.name: s for s in (COCO17, MPII16, H36M17, SMPL22)}
"""Every set by name. The keypoints of `smpl22` are names that models know; there are no texts of them."""


def keypoint_set(name: str) -> KeypointSet:
    """The keypoint set of that name.

    Raises:
        InvalidInputError: no set has this name; the message lists those that exist.
    """
    found = KEYPOINT_SETS.get(name)
    if found is None:
        raise InvalidInputError(
            f"[keypoints] expected the name of a keypoint set ({', '.join(KEYPOINT_SETS)}); got {name!r}; "
            f'for a single keypoint write a list: keypoints=["{name}"]'
        )
    return found


def canonical_name(name: str, known: Iterable[str]) -> str | None:
    """The known spelling of `name`, or None: `left_wrist` finds `left wrist`, `head top` finds `head_top`."""
    names = set(known)
    for spelling in (name, name.replace("_", " "), name.replace(" ", "_")):
        if spelling in names:
            return spelling
    return None


def matching_set(names: Sequence[str]) -> KeypointSet | None:
    """The set whose order `names` follow exactly, else the first set that holds all of them, else None."""
    for candidate in KEYPOINT_SETS.values():
        if candidate.keypoints == tuple(names):
            return candidate
    for candidate in KEYPOINT_SETS.values():
        if set(names) <= set(candidate.keypoints):
            return candidate
    return None
