# SPDX-License-Identifier: Apache-2.0
"""Keypoint sets that cannot be, and the side of a keypoint."""

from __future__ import annotations

import pytest

from edgepose.errors import InvalidInputError
from edgepose.keypoint_set import KeypointSet, side_of


def test_sets_check_themselves() -> None:
    with pytest.raises(InvalidInputError, match="got a more than once"):
        KeypointSet("s", ("a", "a"))
    with pytest.raises(InvalidInputError, match="got none"):
        KeypointSet("s", ())
    with pytest.raises(InvalidInputError, match="got c; add the name"):
        KeypointSet("s", ("a", "b"), edges=(("a", "c"),))


def test_sides() -> None:
    assert [side_of(n) for n in ("left wrist", "right_thumb", "nose", "leftover")] == [
        "left",
        "right",
        "middle",
        "middle",
    ]
