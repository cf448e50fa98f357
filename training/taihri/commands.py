# SPDX-License-Identifier: Apache-2.0
"""What people tell a robot to do with a person, and the joints that matter for it.

How questions become tokens does not belong here, nor which joints of a frame can be answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from edgepose.skeleton import SMPL22

__all__ = ["COMMANDS", "Command", "corpus", "draw_joints", "draw_wording"]


@dataclass(frozen=True, slots=True)
class Command:
    """One purpose: wordings that mean the same, and what has to be found for it."""

    wordings: tuple[str, ...]
    """Imperatives without politeness and full stop; `{side}` and `{other}` stand for left and right."""
    joints: tuple[str, ...]
    """Names of `SMPL22` in the order of the answer, with the same placeholders."""

    @property
    def sided(self) -> bool:
        """Whether the command is about one side of the body."""
        return any("{" in text for text in (*self.wordings, *self.joints))


_ARM = ("{side}_shoulder", "{side}_elbow", "{side}_wrist")
_ARMS = ("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist")
_HANDS = ("left_wrist", "right_wrist")
_SHOULDERS = ("left_shoulder", "right_shoulder")

COMMANDS: tuple[Command, ...] = (
    Command(
        (
            "shake my hand",
            "shake hands with the person",
            "give them a handshake",
            "greet the person with a handshake",
        ),
        ("right_wrist", "right_elbow", "right_shoulder"),
    ),
    Command(
        ("give the person a big hug", "hug this person", "hug me", "embrace the person in front of you"),
        ("neck", *_SHOULDERS, "spine3", "left_elbow", "right_elbow"),
    ),
    Command(("give them a high five", "high five", "do a high five with me"), ("right_wrist", "right_elbow")),
    Command(
        ("give them a high ten", "high five with both hands"),
        ("left_wrist", "right_wrist", "left_elbow", "right_elbow"),
    ),
    Command(("give them a fist bump", "bump fists with me"), ("right_wrist", "right_elbow")),
    Command(
        ("pat the person on the {side} shoulder", "tap their {side} shoulder", "touch my {side} shoulder"),
        ("{side}_shoulder", "{side}_collar"),
    ),
    Command(
        ("pat the person on the shoulder", "tap them on the shoulder", "lay a hand on my shoulder"),
        _SHOULDERS,
    ),
    Command(("massage their shoulders", "put a blanket around my shoulders"), (*_SHOULDERS, "neck")),
    Command(("pat the person on the back", "scratch my back"), ("spine3", "spine2", "neck")),
    Command(("pat the person on the head", "stroke their hair"), ("head", "neck")),
    Command(
        ("put the hat on the person", "put on my helmet", "take the cap off their head"), ("head", "neck")
    ),
    Command(("look the person in the face", "wipe my face", "take off their glasses"), ("head", "neck")),
    Command(
        ("put the scarf around the person", "straighten my collar", "fasten the necklace"), ("neck", "head")
    ),
    Command(
        ("tie their tie", "pin the badge to the person"), ("neck", "spine3", "left_collar", "right_collar")
    ),
    Command(
        ("hand this cup to the person", "give me the cup", "pass me the bottle"),
        ("right_wrist", "right_elbow"),
    ),
    Command(
        ("take the cup out of their {side} hand", "take what is in my {side} hand"),
        ("{side}_wrist", "{side}_elbow"),
    ),
    Command(
        ("put it into their {side} hand", "hold my {side} hand", "take the person by the {side} hand"),
        ("{side}_wrist", "{side}_elbow"),
    ),
    Command(("hold both of their hands", "take my hands", "dance with the person"), _HANDS),
    Command(
        ("hand the tray to the person", "give them the large box", "pass me the tray"), (*_HANDS, "spine3")
    ),
    Command(
        ("find the {side} arm of the person", "take them by the {side} arm", "support my {side} arm"), _ARM
    ),
    Command(
        ("help them into the jacket", "help me take off my coat", "follow both arms of the person"), _ARMS
    ),
    Command(("roll up their {side} sleeve", "bandage my {side} forearm"), ("{side}_elbow", "{side}_wrist")),
    Command(
        ("measure the blood pressure on the {side} arm", "give an injection into the {side} arm"),
        ("{side}_shoulder", "{side}_elbow"),
    ),
    Command(("put the watch on their {side} wrist", "take the pulse at the {side} wrist"), ("{side}_wrist",)),
    Command(("link arms with the person on their {side} side",), ("{side}_elbow", "{side}_shoulder")),
    Command(
        ("help the person stand up", "help me out of the chair", "lift the person under the arms"),
        (*_SHOULDERS, "left_elbow", "right_elbow", "pelvis"),
    ),
    Command(
        ("carry the person", "pick the person up"),
        ("spine3", "pelvis", "left_knee", "right_knee", "neck"),
    ),
    Command(
        ("fasten the belt of the person", "put the belt on me", "hold them by the waist"),
        ("pelvis", "left_hip", "right_hip"),
    ),
    Command(("check their {side} hip", "support the {side} hip"), ("{side}_hip", "pelvis")),
    Command(
        ("help with the {side} shoe", "tie their {side} shoe", "put on my {side} shoe"),
        ("{side}_ankle", "{side}_foot"),
    ),
    Command(
        ("help the person with the shoes", "tie my shoes", "take off their boots"),
        ("left_ankle", "right_ankle", "left_foot", "right_foot"),
    ),
    Command(("bandage their {side} knee", "put ice on my {side} knee"), ("{side}_knee",)),
    Command(
        ("put a blanket over their knees", "lay the laptop on my lap"), ("left_knee", "right_knee", "pelvis")
    ),
    Command(
        ("look at the {side} leg of the person", "stretch my {side} leg"),
        ("{side}_hip", "{side}_knee", "{side}_ankle"),
    ),
    Command(
        ("watch how the person walks", "check my gait", "find both legs"),
        ("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    Command(
        ("check the posture of the person", "is my back straight", "follow the spine"),
        ("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
    ),
    Command(
        ("keep a distance from the person", "walk up to the person", "how far away is the person"),
        ("pelvis",),
    ),
    Command(("mirror what the person does", "find the whole person", "copy my pose"), SMPL22.keypoints),
    Command(
        ("find the upper body of the person", "where are the shoulders and elbows"),
        SMPL22.groups["upper_body"],
    ),
    Command(("find the lower body of the person",), SMPL22.groups["lower_body"]),
)
"""Our own wordings and choices; nothing of the published training data is known."""

_POLITE = ("{}.", "Please {}.", "{}, please.", "Could you {}?", "Can you {}?", "{}", "Now {}.", "Robot, {}.")
_QUESTIONS = ("how ", "is ", "where ")


def draw_wording(command: Command, generator: torch.Generator) -> tuple[str, tuple[str, ...]]:
    """A sentence for a command, and its joints.

    Args:
        command: One of `COMMANDS`.
        generator: Chooses wording, politeness and side.

    Returns:
        The sentence, and names of `SMPL22`.
    """
    wording = command.wordings[_draw(len(command.wordings), generator)]
    polite = _POLITE[_draw(len(_POLITE), generator)]
    side, other = ("left", "right") if _draw(2, generator) else ("right", "left")
    joints = tuple(joint.format(side=side, other=other) for joint in command.joints)
    return _sentence(wording.format(side=side, other=other), polite), joints


def draw_joints(generator: torch.Generator, allowed: list[str], *, favoured: float, most: int) -> list[str]:
    """Random joints to ask for by name, in random order.

    Args:
        generator: Chooses.
        allowed: Names to choose among, at least one.
        favoured: Share of draws in which only joints of the two arms are chosen, if there are any.
        most: Largest number of joints.

    Returns:
        At least one name, each once.
    """
    arms = [name for name in allowed if name in _ARMS]
    if arms and torch.rand((), generator=generator) < favoured:
        allowed = arms
    count = 1 + _draw(min(most, len(allowed)), generator)
    return [allowed[place] for place in torch.randperm(len(allowed), generator=generator)[:count]]


def corpus(asked: str) -> Iterator[str]:
    """Sentences from which a tokenizer learns the words of all commands.

    Args:
        asked: The question for joints, with the placeholder `{names}`.
    """
    for command in COMMANDS:
        for wording in command.wordings:
            for side, other in (("left", "right"), ("right", "left")):
                text = wording.format(side=side, other=other)
                yield from (_sentence(text, polite) for polite in _POLITE)
    for first in SMPL22.keypoints:
        for second in SMPL22.keypoints:
            yield asked.replace("{names}", f"{first}, {second}")
    yield from ("You are a helpful assistant", "system\nuser\nassistant\n")


def _sentence(wording: str, polite: str) -> str:
    if wording.startswith(_QUESTIONS):
        return wording[0].upper() + wording[1:] + "?"
    text = polite.format(wording)
    return text[0].upper() + text[1:]


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
