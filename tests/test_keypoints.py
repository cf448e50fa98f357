# SPDX-License-Identifier: Apache-2.0
"""Keypoint sets of data sets, and how they and their keypoints are found by name."""

from __future__ import annotations

import pytest

from edgepose.errors import InvalidInputError
from edgepose.keypoint_set import KeypointSet, side_of
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.keypoints import (
    COCO17,
    H36M17,
    KEYPOINT_SETS,
    MPII16,
    canonical_name,
    keypoint_set,
    matching_set,
)
from edgepose.skeleton import SMPL22


def test_sets_have_the_published_sizes_and_ends() -> None:
    assert [(s.name, len(s)) for s in KEYPOINT_SETS.values()] == [
        ("coco17", 17),
        ("mpii16", 16),
        ("h36m17", 17),
        ("smpl22", 22),
    ]
    assert COCO17.keypoints[0] == "nose" and COCO17.keypoints[16] == "right ankle"
    assert MPII16.keypoints[6:10] == ("pelvis", "thorax", "neck", "head_top")
    assert H36M17.keypoints[0] == "pelvis" and H36M17.keypoints[7:11] == ("torso", "neck", "nose", "head_top")


@pytest.mark.parametrize("chosen", KEYPOINT_SETS.values(), ids=lambda s: s.name)
def test_skeletons_are_connected_and_mirror(chosen: KeypointSet) -> None:
    swap = {a: b for a, b in chosen.pairs} | {b: a for a, b in chosen.pairs}
    edges = {frozenset(edge) for edge in chosen.edges}
    assert len(edges) == len(chosen.edges)
    assert {frozenset(swap.get(name, name) for name in edge) for edge in edges} == edges
    reached, grown = set[str](), {chosen.keypoints[-1]}
    while grown != reached:
        reached = grown
        grown = reached | {name for edge in edges if edge & reached for name in edge}
    # The published COCO skeleton leaves the head on its own.
    head = {"nose", "left eye", "right eye", "left ear", "right ear"} if chosen is COCO17 else set()
    assert reached == set(chosen.keypoints) - head
    sided = {name for name in chosen.keypoints if side_of(name) != "middle"}
    assert set(swap) == sided


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("left wrist", "left wrist"),
        ("left_wrist", "left wrist"),
        ("head_top", "head_top"),
        ("head top", "head_top"),
        ("left-wrist", None),
        ("Left Wrist", None),
        ("", None),
    ],
)
def test_spellings(given: str, found: str | None) -> None:
    assert canonical_name(given, DEFAULT_TEXTS) == found


def test_sets_by_name() -> None:
    assert keypoint_set("h36m17") is H36M17
    with pytest.raises(InvalidInputError, match="coco17, mpii16, h36m17"):
        keypoint_set("coco")


def test_matching_set() -> None:
    assert matching_set(H36M17.keypoints) is H36M17
    assert matching_set(["left wrist", "nose"]) is COCO17
    assert matching_set(["left wrist", "pelvis"]) is MPII16
    assert matching_set(["left thumb"]) is None
    assert matching_set(["left_wrist", "left_elbow"]) is SMPL22
    assert matching_set(SMPL22.keypoints) is SMPL22
