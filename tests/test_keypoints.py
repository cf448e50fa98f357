# SPDX-License-Identifier: Apache-2.0
"""Keypoint sets, the package's wording, and every form that the `keypoints` argument may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepose.errors import InvalidInputError
from edgepose.keypoints import (
    COCO17,
    DEFAULT_TEXTS,
    H36M17,
    KEYPOINT_SETS,
    MPII16,
    SMPL22,
    KeypointSet,
    KeypointText,
    canonical_name,
    keypoint_set,
    matching_set,
    resolve_keypoints,
    side_of,
)


def resolve(keypoints: Any) -> tuple[KeypointText, ...]:
    return resolve_keypoints(keypoints, texts=DEFAULT_TEXTS, default="coco17")


def names(keypoints: Any) -> list[str]:
    return [text.name for text in resolve(keypoints)]


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


def test_every_keypoint_of_every_set_is_described() -> None:
    assert len(DEFAULT_TEXTS) == 24
    for chosen in (COCO17, MPII16, H36M17):
        assert set(chosen.keypoints) <= set(DEFAULT_TEXTS)
    described = [text.description for text in DEFAULT_TEXTS.values()]
    asked = [text.question for text in DEFAULT_TEXTS.values()]
    assert len(set(described)) == len(set(asked)) == 24 and None not in asked
    for name, text in DEFAULT_TEXTS.items():
        assert name == text.name
        assert text.description.startswith(f"The {name} ") and text.description.endswith(".")
        assert text.description.isascii()


def test_wording_is_our_own_and_orders_are_the_published(shared_data: Path) -> None:
    published = json.loads((shared_data / "locllm_keypoint_texts.json").read_text(encoding="utf-8"))
    for name, order in published["keypoint_orders"].items():
        assert KEYPOINT_SETS[name].keypoints == tuple(order)
    assert set(DEFAULT_TEXTS) == set(published["keypoints"])
    sentences = {" ".join(t.lower().split()) for k in published["keypoints"].values()
                 for t in (k["description"], *k["questions"])}  # fmt: skip
    for text in DEFAULT_TEXTS.values():
        assert text.description.lower() not in sentences
        assert text.asked.lower() not in sentences


def test_none_set_name_and_set() -> None:
    assert names(None) == names("coco17") == names(COCO17) == list(COCO17.keypoints)
    assert names("mpii16") == list(MPII16.keypoints)
    assert names(KeypointSet("mine", ("left wrist", "nose"))) == ["left wrist", "nose"]


def test_joints_without_texts_need_descriptions() -> None:
    with pytest.raises(InvalidInputError, match="got 'spine1'; .*for a new keypoint say what it is"):
        resolve("smpl22")
    assert names(SMPL22.groups["left_arm"]) == ["left shoulder", "left elbow", "left wrist"]


def test_names_texts_and_mappings() -> None:
    custom = KeypointText("left thumb", "The left thumb is the shortest finger of the left hand.")
    assert names(["nose", "left_wrist", "head_top", "neck"]) == [
        "nose",
        "left wrist",
        "head_top",
        "neck",
    ]
    assert resolve(("nose", custom))[1] is custom
    described = resolve({"left thumb": custom.description, "left_wrist": "Where the watch sits."})
    assert described[0] == custom
    assert described[1] == KeypointText("left wrist", "Where the watch sits.")
    assert "left thumb" in described[0].asked and described[0].question is None
    assert resolve(["nose"])[0].asked == DEFAULT_TEXTS["nose"].question


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["left thumb"], r"got 'left thumb'; .*for a new keypoint say what it is"),
        (["left writs"], r"got 'left writs'; did you mean 'left wrist'\?"),
        (["nose", "left wrist", "left_wrist"], "got left wrist more than once"),
        ({"left wrist": "a", "left_wrist": "b"}, "got left wrist more than once"),
        ([KeypointText("nose", "x"), "nose"], "got nose more than once"),
        ([], r"expected at least one keypoint; got \[\]"),
        ({}, "expected at least one keypoint"),
        ("nose", r'got .nose.; for a single keypoint write a list: keypoints=\["nose"\]'),
        ("", "expected the name of a keypoint set"),
        (["linkes Ohr, größer"], "printable ASCII.*größer"),
        (["left\nwrist"], r"printable ASCII.*left\\nwrist"),
        ([" nose"], "without blanks at its ends; got ' nose'"),
        ([""], "got ''"),
        ([7], r"got 7 \(int\)"),
        ([None], r"got None \(NoneType\)"),
        (7, r"got 7 \(int\); pass a list"),
        (b"nose", r"got 110 \(int\)"),
        ({"thumb": "two\nlines"}, r"description of 'thumb' to be one line of text; got 'two\\nlines'"),
        ({"thumb": ""}, "description of 'thumb'"),
        ({"thumb": "  "}, "description of 'thumb'"),
        ({"thumb": None}, "got None"),
    ],
)
def test_unusable_arguments_name_the_value(given: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        resolve(given)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve(["tail"])
    assert all(name in str(caught.value) for name in DEFAULT_TEXTS)


def test_texts_and_sets_check_themselves() -> None:
    with pytest.raises(InvalidInputError, match="question of 'nose'"):
        KeypointText("nose", "x", "a\nb")
    with pytest.raises(InvalidInputError, match="got a more than once"):
        KeypointSet("s", ("a", "a"))
    with pytest.raises(InvalidInputError, match="got none"):
        KeypointSet("s", ())
    with pytest.raises(InvalidInputError, match="got c; add the name"):
        KeypointSet("s", ("a", "b"), edges=(("a", "c"),))
    with pytest.raises(InvalidInputError, match="coco17, mpii16, h36m17"):
        keypoint_set("coco")


def test_matching_set() -> None:
    assert matching_set(H36M17.keypoints) is H36M17
    assert matching_set(["left wrist", "nose"]) is COCO17
    assert matching_set(["left wrist", "pelvis"]) is MPII16
    assert matching_set(["left thumb"]) is None
    assert matching_set(["left_wrist", "left_elbow"]) is SMPL22
    assert matching_set(SMPL22.keypoints) is SMPL22


def test_sides() -> None:
    assert [side_of(n) for n in ("left wrist", "right_thumb", "nose", "leftover")] == [
        "left",
        "right",
        "middle",
        "middle",
    ]
