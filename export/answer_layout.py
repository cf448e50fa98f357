# SPDX-License-Identifier: Apache-2.0
"""Reads how a checkpoint sets its answers from what the user says: a name, an example, or nothing.

The rule by which an example tells a layout is in `edgepose.answer_layout`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from edgepose.answer_layout import NAMED_LAYOUTS, layout_from_tokens, named_layout
from edgepose.bundle import LayoutSpec
from edgepose.errors import InvalidInputError
from edgepose.export.tokenizer import ByteLevelTokenizer

__all__ = ["read_layout"]


def read_layout(
    given: str | os.PathLike[str] | None,
    tokenizer: ByteLevelTokenizer,
    *,
    bins: Collection[int],
    joints: Collection[int],
    markers: Mapping[str, int],
    end: int,
) -> LayoutSpec:
    """The layout of a checkpoint's answers.

    Args:
        given: A name out of `NAMED_LAYOUTS`; or an answer as the published code printed it, special tokens
            included, or as a JSON list of its token ids; or a file with one. None for `compact`. A text says
            less than ids: blanks in it may come from printing, so ids are to be preferred.
        tokenizer: The checkpoint's tokenizer.
        bins: Ids of the coordinate tokens.
        joints: Ids of the joint names.
        markers: Ids of the block markers by name.
        end: Id that ends an answer.

    Raises:
        InvalidInputError: It is none of these, or an example that contradicts itself.
    """
    if given is None:
        return named_layout("compact", tokenizer.encode, source="default")
    text = os.fspath(given)
    if text in NAMED_LAYOUTS:
        return named_layout(text, tokenizer.encode)
    if _is_file(text):
        text = _read(Path(text))
    text = text.strip()
    ids = tokenizer.encode_marked(text) if text.startswith("<") else _listed_ids(text)
    return layout_from_tokens(ids, bins=bins, joints=joints, markers=markers, end=end, source="option")


def _listed_ids(text: str) -> list[int]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise InvalidInputError(
            f"[answer layout] expected {' or '.join(NAMED_LAYOUTS)}, an answer that begins with a marker "
            "such as <|kpt2d_start|>, a JSON list of its token ids, or an existing file with one; got "
            f"{text[:80]!r}; pass --answer-layout with one of them"
        )
    return value


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or not one at all
        return False


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"[answer layout] expected {file} to hold an answer as UTF-8 text; got: {error}; save it again"
        ) from error
