# SPDX-License-Identifier: Apache-2.0
"""Keypoint sets, the package's own wording of what each keypoint is, and what `keypoints=` may be.

Prompts and tokens do not belong here: a bundle says how a description becomes a question to its model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgepose.errors import InvalidInputError
from edgepose.keypoint_set import KeypointSet, side_of
from edgepose.skeleton import SMPL22

__all__ = [
    "COCO17",
    "DEFAULT_TEXTS",
    "H36M17",
    "KEYPOINT_SETS",
    "MPII16",
    "SMPL22",
    "KeypointSet",
    "KeypointText",
    "KeypointsArgument",
    "canonical_name",
    "keypoint_set",
    "matching_set",
    "resolve_keypoints",
    "side_of",
]


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidInputError(
            f"[keypoints] expected a keypoint name as str or a KeypointText; got {name!r} "
            f"({type(name).__name__}); pass the name itself"
        )
    if not name or name != name.strip() or not name.isascii() or not name.isprintable():
        raise InvalidInputError(
            "[keypoints] expected a name of printable ASCII characters without blanks at its ends; "
            f"got {name!r}; spell the name in plain letters and put the rest into the description"
        )
    return name


def _check_text(what: str, name: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise InvalidInputError(
            f"[keypoints] expected the {what} of {name!r} to be one line of text; got {text!r}; "
            "write it as one sentence without line breaks"
        )
    return text


@dataclass(frozen=True, slots=True)
class KeypointText:
    """What the model is told about one keypoint.

    Raises:
        InvalidInputError: the name is empty, not printable ASCII or padded with blanks; the description is
            empty; a text holds a line break or another control character.
    """

    name: str
    """Name as the model reads it, printable ASCII, for example `left wrist`."""

    description: str
    """One sentence on where the keypoint lies, on one line."""

    question: str | None = None
    """A question of its own, for prompt formats that ask one; `asked` makes one up where it is None."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_text("description", self.name, self.description)
        if self.question is not None:
            _check_text("question", self.name, self.question)

    @property
    def asked(self) -> str:
        """The question, or one generated from the name."""
        if self.question is not None:
            return self.question
        return f"Which image coordinates does the {self.name} of this person have?"


KeypointsArgument: TypeAlias = str | KeypointSet | Sequence[str | KeypointText] | Mapping[str, str] | None
"""What a user may pass as `keypoints`: see `resolve_keypoints`."""


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


def resolve_keypoints(
    keypoints: KeypointsArgument, *, texts: Mapping[str, KeypointText], default: str
) -> tuple[KeypointText, ...]:
    """Turn the user's `keypoints` argument into the texts to ask about, in order.

    Args:
        keypoints: None for the default set; the name of a set; a `KeypointSet`; a sequence of names known to
            `texts` or of `KeypointText`; or a mapping from name to description, which needs no known name.
        texts: what the bundle knows, by name.
        default: name of the set that None stands for.

    Returns:
        One text per keypoint, no name twice. Known names come back in the spelling of `texts`.

    Raises:
        InvalidInputError: a name is unknown and has no description, is empty, not ASCII or repeated, or the
            argument is of another type.
    """
    if keypoints is None:
        keypoints = default
    if isinstance(keypoints, str):
        keypoints = keypoint_set(keypoints)
    chosen: list[KeypointText]
    if isinstance(keypoints, KeypointSet):
        chosen = [_known(name, texts) for name in keypoints.keypoints]
    elif isinstance(keypoints, Mapping):
        chosen = [_described(name, description, texts) for name, description in keypoints.items()]
    elif isinstance(keypoints, Sequence):
        chosen = [item if isinstance(item, KeypointText) else _known(item, texts) for item in keypoints]
    else:
        raise InvalidInputError(
            "[keypoints] expected None, a set name, a KeypointSet, a sequence of names or KeypointText, or a "
            f"mapping name -> description; got {keypoints!r} ({type(keypoints).__name__}); pass a list"
        )
    if not chosen:
        raise InvalidInputError(
            f"[keypoints] expected at least one keypoint; got {keypoints!r}; pass None for the default set"
        )
    names = [text.name for text in chosen]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidInputError(
            f"[keypoints] expected each keypoint once; got {', '.join(repeated)} more than once; "
            "drop the repetition"
        )
    return tuple(chosen)


def _known(name: object, texts: Mapping[str, KeypointText]) -> KeypointText:
    checked = _check_name(name)
    spelling = canonical_name(checked, texts)
    if spelling is None:
        close = difflib.get_close_matches(checked.replace("_", " "), texts, n=1, cutoff=0.75)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InvalidInputError(
            f"[keypoints] expected a known keypoint ({', '.join(texts)}) or a description; got {checked!r}; "
            f'{hint}for a new keypoint say what it is: keypoints={{"{checked}": "The {checked} is ..."}} '
            f'or KeypointText("{checked}", "The {checked} is ...")'
        )
    return texts[spelling]


def _described(name: object, description: object, texts: Mapping[str, KeypointText]) -> KeypointText:
    checked = _check_name(name)
    spelling = canonical_name(checked, texts) or checked
    return KeypointText(spelling, _check_text("description", spelling, description))
