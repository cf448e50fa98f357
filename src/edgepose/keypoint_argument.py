# SPDX-License-Identifier: Apache-2.0
"""What `keypoints=` may be, and the texts it stands for.

What is known without it does not belong here: see `edgepose.keypoints` and `edgepose.keypoint_wording`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from edgepose.errors import InvalidInputError
from edgepose.keypoint_set import KeypointSet
from edgepose.keypoint_text import KeypointText, check_name, check_text
from edgepose.keypoints import canonical_name, keypoint_set

__all__ = ["KeypointsArgument", "resolve_keypoints"]

KeypointsArgument: TypeAlias = str | KeypointSet | Sequence[str | KeypointText] | Mapping[str, str] | None
"""What a user may pass as `keypoints`: see `resolve_keypoints`."""


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
    checked = check_name(name)
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
    checked = check_name(name)
    spelling = canonical_name(checked, texts) or checked
    return KeypointText(spelling, check_text("description", spelling, description))
