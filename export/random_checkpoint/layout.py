# SPDX-License-Identifier: Apache-2.0
"""What a kind of checkpoint consists of, for writing one with random weights.

The kinds themselves have a file each beside this one; files of tensors are written in `shards`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

__all__ = ["Layout", "random_normal", "write_json"]


class Layout(Protocol):
    """A published layout, with sizes and options chosen."""

    file_format: Literal["bin", "safetensors"]
    """In which the tensors are written where nobody says otherwise."""
    dtype: str
    """Their type, likewise."""

    def write_files(self, folder: Path, dtype: str) -> None:
        """Writes everything but the tensors, configurations and tokenizer; comes before `shapes` and `make`.

        Raises:
            InvalidInputError: Sizes or options contradict each other.
        """

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Published names and shapes, in the order of the published modules."""

    def make(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One published tensor, float32; depends on nothing but the seed, the name and the shape."""


def random_normal(seed: int, name: str, shape: tuple[int, ...]) -> Tensor:
    """Normally distributed numbers, float32, that belong to a seed and a name."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    return torch.empty(shape).normal_(generator=generator)


def write_json(path: Path, value: object) -> None:
    """Writes a JSON file as checkpoints have them."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
