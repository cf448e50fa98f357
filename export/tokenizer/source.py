# SPDX-License-Identifier: Apache-2.0
"""What every kind of tokenizer can do for an export.

Reading the kinds does not belong here: each has a file beside this one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

__all__ = ["CheckpointTokenizer"]


class CheckpointTokenizer(Protocol):
    """A checkpoint's tokenizer, as an export uses it."""

    @property
    def source(self) -> Path:
        """File it was read from."""

    @property
    def provenance(self) -> dict[str, object]:
        """What a bundle says of where its tokenizer comes from."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, exactly as it stands; what looks like a special token is text."""

    def check_vocabulary(self, embedding_rows: int, head_rows: int) -> None:
        """Checks that every token has a row in the embedding table and in the head.

        Raises:
            InvalidInputError: One has none.
        """

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the `tokenizer.json` of a bundle."""
