# SPDX-License-Identifier: Apache-2.0
"""Several questions about one frame in one sequence, which share the frame but do not see one another.

What is asked and answered does not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

__all__ = ["Branch", "Packed", "Tree", "pack", "rope_positions"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One way on from a shared beginning."""

    context: tuple[int, ...]
    """Token ids that are read but not learnt."""
    answer: tuple[int, ...]
    """Token ids that are learnt."""
    shares: tuple[float, ...]
    """For each token of the answer the number that it rounds, 0 to 1; NaN where it is none."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A shared beginning and what it goes on with."""

    stem: tuple[int, ...]
    """Token ids, image tokens among them; the last may have a learnt token behind it."""
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """Sequences side by side, padded to one length T."""

    ids: Tensor
    """(N, T) int64."""
    positions: Tensor
    """(3, N, T) int64 rotary positions: time, row, column."""
    allowed: Tensor
    """(N, T, T) bool: which tokens a token (row) may look back at, besides the causal order."""
    image_start: int
    """Place of the first image token; the same in all sequences."""
    where: Tensor
    """(M,) int64, places in the flattened (N * T) sequences whose next token is learnt."""
    targets: Tensor
    """(M,) int64, that token."""
    shares: Tensor
    """(M,) float32, the number that it rounds, 0 to 1; NaN where it is none."""
    answer_of: Tensor
    """(M,) int64: which answer the token belongs to, counted over all sequences."""

    def to(self, device: torch.device) -> Packed:
        """The same on another device."""
        names = [field.name for field in fields(self) if field.name != "image_start"]
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def rope_positions(ids: Sequence[int], image_token: int, rows: int, columns: int) -> tuple[Tensor, int]:
    """Rotary positions of a text with one image in it.

    Args:
        ids: Token ids; the image tokens in one piece.
        image_token: Their id.
        rows: Of the merged grid.
        columns: Likewise.

    Returns:
        (3, T) int64, time, row and column; and the position of what comes next.

    Source: Qwen3-VL's M-RoPE: an image token has the place of the image plus its row and column, and the text
    goes on behind the longer side.
    """
    start = ids.index(image_token)
    count = rows * columns
    places = torch.arange(count)
    behind = start + max(rows, columns)
    rest = torch.arange(len(ids) - start - count)
    lines = []
    for offset in (torch.zeros_like(places), places // columns, places % columns):
        lines.append(torch.cat((torch.arange(start), start + offset, behind + rest)))
    return torch.stack(lines), behind + len(rest)


def pack(trees: Sequence[Tree], *, image_token: int, rows: int, columns: int, pad: int) -> Packed:
    """Lays trees out as sequences.

    Every branch has the positions, and sees the tokens, that it has as a sequence of its own.

    Args:
        trees: One for each sequence; their frames have one size and stand at one place.
        image_token: Id that stands for each row of the frame.
        rows: Of the merged grid.
        columns: Likewise.
        pad: Id to fill up with.
    """
    length = max(
        len(tree.stem) + sum(len(b.context) + len(b.answer) for b in tree.branches) for tree in trees
    )
    ids = torch.full((len(trees), length), pad)
    positions = torch.zeros(3, len(trees), length, dtype=torch.int64)
    part = torch.full((len(trees), length), -1)  # 0 is the stem, -1 is padding
    starts = set()
    where: list[int] = []
    targets: list[int] = []
    shares: list[float] = []
    answer_of: list[int] = []
    answers = 0
    for line, tree in enumerate(trees):
        stem = len(tree.stem)
        starts.add(tree.stem.index(image_token))
        ids[line, :stem] = torch.tensor(tree.stem)
        part[line, :stem] = 0
        positions[:, line, :stem], following = rope_positions(tree.stem, image_token, rows, columns)
        at = stem
        for number, branch in enumerate(tree.branches, start=1):
            tokens = (*branch.context, *branch.answer)
            end = at + len(tokens)
            ids[line, at:end] = torch.tensor(tokens)
            part[line, at:end] = number
            positions[:, line, at:end] = following + torch.arange(len(tokens))
            first = at + len(branch.context)
            before = [first - 1 if branch.context else stem - 1, *range(first, end - 1)]
            where += [line * length + place for place in before]
            targets += branch.answer
            shares += branch.shares
            answer_of += [answers] * len(branch.answer)
            answers += 1
            at = end
    if len(starts) != 1:
        raise ValueError(f"frames stand at places {sorted(starts)} of their sequences, not at one")
    same = part[:, :, None] == part[:, None, :]
    return Packed(
        ids=ids,
        positions=positions,
        allowed=(same | (part[:, None, :] == 0)) & (part[:, :, None] >= 0),
        image_start=starts.pop(),
        where=torch.tensor(where, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        shares=torch.tensor(shares, dtype=torch.float32),
        answer_of=torch.tensor(answer_of, dtype=torch.int64),
    )
