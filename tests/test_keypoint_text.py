# SPDX-License-Identifier: Apache-2.0
"""Texts of keypoints that cannot be, and the question where none is given."""

from __future__ import annotations

import pytest

from edgepose.errors import InvalidInputError
from edgepose.keypoint_text import KeypointText


def test_texts_check_themselves() -> None:
    with pytest.raises(InvalidInputError, match="question of 'nose'"):
        KeypointText("nose", "x", "a\nb")
    with pytest.raises(InvalidInputError, match="description of 'nose'"):
        KeypointText("nose", " ")
    with pytest.raises(InvalidInputError, match="without blanks at its ends; got 'nose '"):
        KeypointText("nose ", "x")


def test_questions_are_made_up_where_none_is_given() -> None:
    assert KeypointText("nose", "x", "Where?").asked == "Where?"
    assert "left thumb" in KeypointText("left thumb", "x").asked
