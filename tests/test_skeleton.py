# SPDX-License-Identifier: Apache-2.0
"""Skeletons: trees in order, groups of their joints."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from edgepose.errors import InvalidInputError
from edgepose.keypoint_set import KeypointSet, side_of
from edgepose.keypoints import KEYPOINT_SETS
from edgepose.skeleton import SMPL22, Skeleton


def test_joints_have_their_published_numbers() -> None:
    numbers = {"pelvis": 0, "left_hip": 1, "right_knee": 5, "spine3": 9, "neck": 12, "head": 15,
               "left_shoulder": 16, "right_elbow": 19, "left_wrist": 20, "right_wrist": 21}  # fmt: skip
    assert {name: SMPL22.keypoints.index(name) for name in numbers} == numbers
    groups = {"left_arm": [16, 18, 20], "right_arm": [17, 19, 21], "upper_body": [16, 17, 18, 19],
              "lower_body": [1, 2, 4, 5]}  # fmt: skip
    assert {g: [SMPL22.keypoints.index(n) for n in names] for g, names in SMPL22.groups.items()} == groups


def test_the_tree_mirrors() -> None:
    swap = {a: b for a, b in SMPL22.pairs} | {b: a for a, b in SMPL22.pairs}
    parent = {n: SMPL22.keypoints[p] for n, p in zip(SMPL22.keypoints, SMPL22.parents, strict=True) if p >= 0}
    assert {swap.get(n, n): swap.get(p, p) for n, p in parent.items()} == parent
    assert SMPL22.edges == tuple((p, n) for n, p in parent.items()) and len(SMPL22.edges) == 21
    for name, above in parent.items():  # a side never hangs from the other
        assert {side_of(name), side_of(above)} != {"left", "right"}
    chain, name = [], "right_wrist"
    while name in parent:
        chain.append(name := parent[name])
    assert chain == ["right_elbow", "right_shoulder", "right_collar", "spine3", "spine2", "spine1", "pelvis"]


def test_a_skeleton_is_a_keypoint_set() -> None:
    assert KEYPOINT_SETS["smpl22"] is SMPL22 and isinstance(SMPL22, KeypointSet) and len(SMPL22) == 22
    assert hash(SMPL22) == hash(copy.copy(SMPL22)) and pickle.loads(pickle.dumps(SMPL22)) == SMPL22
    own = Skeleton("own", ("a", "b"), edges=(("b", "a"),), parents=(-1, 0))
    assert own.edges == (("b", "a"),) and own.groups == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(parents=()), r"expected 3 parents.*got \(\)"),
        (dict(parents=(-1, 0)), r"got \(-1, 0\)"),
        (dict(parents=(0, 0, 0)), r"got \(0, 0, 0\)"),
        (dict(parents=(-1, 2, 0)), "order the joints from the root outwards"),
        (dict(parents=(-1, 0, -1)), r"got \(-1, 0, -1\)"),
        (dict(parents=(-1, 0, 1), groups={"arm": ("a", "wing")}), "groups of its joints; got wing"),
        (dict(parents=(-1, 0, 1), pairs=(("a", "tail"),)), "got tail; add the name"),
        (dict(parents=(-1, 0, 1), keypoints=("a", "a", "b")), "got a more than once"),
    ],
)
def test_unusable_skeletons(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Skeleton(**{"name": "s", "keypoints": ("a", "b", "c"), **arguments})
