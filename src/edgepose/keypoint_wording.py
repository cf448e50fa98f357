# SPDX-License-Identifier: Apache-2.0
"""The package's own wording of what each keypoint is.

What a bundle asks with does not belong here: its manifest carries its texts, these or others.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgepose.keypoint_text import KeypointText

__all__ = ["DEFAULT_TEXTS"]


def _sided(part: str, description: str, question: str) -> list[KeypointText]:
    """Texts of a left and a right keypoint from one template; `{s}` is the side, `{o}` the other side."""
    return [
        KeypointText(f"{s} {part}", description.format(s=s, o=o), question.format(s=s, o=o))
        for s, o in (("left", "right"), ("right", "left"))
    ]


_TEXTS = [
    KeypointText(
        "nose",
        "The nose is the tip of the nose in the middle of the face, between the eyes and the mouth.",
        "At which image coordinates is the tip of this person's nose?",
    ),
    *_sided(
        "eye",
        "The {s} eye is the centre of the eyeball on the person's own {s} side, above the {s} cheek.",
        "At which image coordinates is the centre of this person's {s} eye?",
    ),
    *_sided(
        "ear",
        "The {s} ear is the middle of the ear on the person's own {s} side of the head, level with the eyes.",
        "At which image coordinates is this person's {s} ear?",
    ),
    *_sided(
        "shoulder",
        "The {s} shoulder is the joint at which the {s} upper arm hangs from the trunk, beside the neck.",
        "At which image coordinates is the joint of this person's {s} shoulder?",
    ),
    *_sided(
        "elbow",
        "The {s} elbow is the joint halfway down the {s} arm, where it bends between shoulder and wrist.",
        "At which image coordinates does this person's {s} arm bend at the elbow?",
    ),
    *_sided(
        "wrist",
        "The {s} wrist is the narrow joint at the end of the {s} forearm, just before the {s} hand begins.",
        "At which image coordinates does this person's {s} forearm end at the wrist?",
    ),
    *_sided(
        "hip",
        "The {s} hip is the joint at which the {s} thigh starts, across the body from the {o} hip.",
        "At which image coordinates is the joint of this person's {s} hip?",
    ),
    *_sided(
        "knee",
        "The {s} knee is the joint halfway down the {s} leg, where it bends between hip and ankle.",
        "At which image coordinates does this person's {s} leg bend at the knee?",
    ),
    *_sided(
        "ankle",
        "The {s} ankle is the joint at the lower end of the {s} shin, just above the {s} foot.",
        "At which image coordinates does this person's {s} shin end at the ankle?",
    ),
    KeypointText(
        "neck",
        "The neck is the point at the base of the throat, in the middle between head and shoulders.",
        "At which image coordinates is the base of this person's neck?",
    ),
    KeypointText(
        "torso",
        "The torso is the middle of the trunk on the line of the spine, halfway between neck and pelvis.",
        "At which image coordinates is the middle of this person's trunk?",
    ),
    KeypointText(
        "pelvis",
        "The pelvis is the point in the middle between the two hip joints, at the lower end of the trunk.",
        "At which image coordinates is the middle of this person's pelvis?",
    ),
    *_sided(
        "toe",
        "The {s} toe is the tip of the big toe at the front end of the {s} foot or shoe.",
        "At which image coordinates is the tip of this person's {s} foot?",
    ),
    KeypointText(
        "head_top",
        "The head_top is the highest point of the skull, at the crown of the head above the forehead.",
        "At which image coordinates is the crown of this person's head?",
    ),
    KeypointText(
        "thorax",
        "The thorax is the upper middle of the chest, at the height of the two shoulder joints.",
        "At which image coordinates is the upper middle of this person's chest?",
    ),
]

DEFAULT_TEXTS: Mapping[str, KeypointText] = {text.name: text for text in _TEXTS}
"""The 24 keypoints that LocLLM and PoseLLM know, in this package's own words."""
