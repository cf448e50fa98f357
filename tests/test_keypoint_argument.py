# SPDX-License-Identifier: Apache-2.0
"""Every form that the `keypoints` argument may have, and what it may not be."""

from __future__ import annotations

from typing import Any

import pytest

from edgepose.errors import InvalidInputError
from edgepose.keypoint_argument import resolve_keypoints
from edgepose.keypoint_set import KeypointSet
from edgepose.keypoint_text import KeypointText
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.keypoints import COCO17, MPII16
from edgepose.skeleton import SMPL22


def resolve(keypoints: Any) -> tuple[KeypointText, ...]:
    return resolve_keypoints(keypoints, texts=DEFAULT_TEXTS, default="coco17")


def names(keypoints: Any) -> list[str]:
    return [text.name for text in resolve(keypoints)]


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
