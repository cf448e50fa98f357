# SPDX-License-Identifier: Apache-2.0
"""Shows a decoder where to look: from the numbers of an answer at where the image holds the keypoint.

The published systems start from a language model that follows text already; a new one would take most of a
short training to find out that the name in a question is to be looked for in the image.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from edgepose.export.models.llama import DecoderAttention, rotate

__all__ = ["POINTING_HEADS", "POINTING_LAYER", "OwnPlace", "WatchedAttention", "own_places", "pointer_loss"]

POINTING_LAYER, POINTING_HEADS = 1, 2
"""The layer of the decoder whose first heads are shown where to look; they share one head of the keys."""


class OwnPlace(nn.Linear):
    """Reads from each image embedding which place it has in the image; thrown away after training.

    An encoder that was taught which patch holds what need not say where the patch is, and without that no
    digit can be written.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, 2)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def loss(self, image: Tensor, rows: int, columns: int) -> Tensor:
        """Mean squared error over the variance, for image embeddings (B, rows * columns, hidden)."""
        error: Tensor = self(image).float() - own_places(rows, columns).to(image.device)
        return error.square().mean()


def own_places(rows: int, columns: int) -> Tensor:
    """(rows * columns, 2): column and row of each cell, row by row, each axis with mean 0 and variance 1."""
    down, across = (torch.arange(count, dtype=torch.float32) for count in (rows, columns))
    down, across = ((s - s.mean()) / s.std(correction=0).clamp(min=1e-6) for s in (down, across))
    row, column = torch.meshgrid(down, across, indexing="ij")
    return torch.stack((column, row), -1).flatten(0, 1)


class WatchedAttention:
    """A context that remembers what an attention layer was given."""

    def __init__(self, attention: DecoderAttention) -> None:
        self._attention = attention
        self._given: tuple[Tensor, Tensor, Tensor] | None = None

    def __enter__(self) -> WatchedAttention:
        self._hook = self._attention.register_forward_pre_hook(self._keep)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()

    def _keep(self, module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        self._given = given[0], given[1], given[2]

    def scores(self, queries: Tensor, keys: slice, heads: int) -> Tensor:
        """Scores before the softmax.

        Args:
            queries: (B, M) places of the tokens that look.
            keys: Places of those that are looked at, S of them.
            heads: How many heads, from the first; as many as share one head of the keys, at most.

        Returns:
            (B, heads, M, S).
        """
        assert self._given is not None  # the layer has run
        x, cos, sin = self._given
        width = self._attention.config.head_dim
        looking = x.gather(1, queries.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

        def turned(values: Tensor, norm: nn.Module, count: int, places: Tensor) -> Tensor:
            split = norm(values.reshape(*values.shape[:2], -1, width).transpose(1, 2)[:, :count])
            index = places.expand(len(x), -1)[:, None, :, None].expand(-1, 1, -1, width)
            angles = [table.expand(len(x), -1, -1, -1).gather(2, index) for table in (cos, sin)]
            return rotate(split, *angles)

        order = torch.arange(x.shape[1], device=x.device)[keys]
        layer = self._attention
        query = turned(layer.q_proj(looking), layer.q_norm, heads, queries)
        key = turned(layer.k_proj(x[:, keys]), layer.k_norm, 1, order[None])
        scores: Tensor = query @ key.transpose(-1, -2) * width**-0.5
        return scores


def pointer_loss(scores: Tensor, targets: Tensor, asked: Tensor) -> Tensor:
    """Cross-entropy between where digits look and where the keypoint is.

    Args:
        scores: (B, heads, Q * D, S) of the D digits of Q answers.
        targets: (B, Q, S) weights of the patches.
        asked: (B, Q) bool.
    """
    count, questions = asked.shape
    per_digit = (
        scores.float().log_softmax(-1).reshape(count, scores.shape[1], questions, -1, scores.shape[-1])
    )
    loss = -(per_digit * targets[:, None, :, None]).sum(-1).mean((1, 3))
    return (loss * asked).sum() / asked.sum().clamp(min=1)
