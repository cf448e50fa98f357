# SPDX-License-Identifier: Apache-2.0
"""Inputs of a decoder that stand for a whole decode: a prefix, several questions, further tokens of each.

Running them belongs to `edgepose.export.decoder_parity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepose.export.models import DecoderConfig
from edgepose.export.models.llama import rotary_table

__all__ = ["TOKENS_NEEDED", "DecoderPass", "make_passes", "to_tensor"]

_PREFIX_TOKENS = 10
_SUFFIX_LENGTHS = (4, 2, 3)
_DECODE_TOKENS = 2
_CAPACITY = 7
TOKENS_NEEDED = _PREFIX_TOKENS + len(_SUFFIX_LENGTHS) * (max(_SUFFIX_LENGTHS) + _DECODE_TOKENS)
"""Token embeddings that `make_passes` takes."""

_Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, repr=False)
class DecoderPass:
    """One pass and its place in the chain of caches."""

    name: str
    inputs: dict[str, NDArray[np.generic]]
    """All inputs but the caches, see `edgepose.export.graphs.llama`."""
    prefix: int
    """P."""
    capacity: int
    """S."""

    @property
    def embeddings(self) -> Tensor:
        """(N, T, hidden) float32."""
        return to_tensor(self.inputs["embeddings"])


def make_passes(
    config: DecoderConfig,
    image: _Array,
    deepstack: Sequence[_Array],
    tokens: Tensor,
    dtype: np.dtype[np.generic],
) -> list[DecoderPass]:
    """Prefix, suffix and decode pass with realistic inputs.

    Args:
        config: Sizes of the decoder.
        image: (rows, hidden) image embeddings.
        deepstack: (rows, hidden) further features of the same rows, one array for each of `config.deepstack`.
        tokens: (TOKENS_NEEDED, hidden) token embeddings.
        dtype: Activation type.

    Returns:
        One question's image and text; several questions of different lengths, padded; and two more tokens
        each, on caches with free slots.
    """
    rows, longest = len(_SUFFIX_LENGTHS), max(_SUFFIX_LENGTHS)
    lengths = np.array(_SUFFIX_LENGTHS)
    prefix = torch.cat((tokens[:2], torch.from_numpy(image), tokens[2:_PREFIX_TOKENS]))[:_PREFIX_TOKENS]
    seen_rows = min(len(image), _PREFIX_TOKENS - 2)
    places, after = _prefix_places(config, seen_rows)
    free = tokens[_PREFIX_TOKENS:]
    suffix = free[: rows * longest].view(rows, longest, -1)
    decode = free[rows * longest :].view(rows, _DECODE_TOKENS, -1)
    slots = np.arange(_CAPACITY)[None, None, :] < lengths[:, None, None]

    def make(
        name: str,
        embeddings: Tensor,
        places: NDArray[np.int64],
        cached: NDArray[np.bool_],
        asked: NDArray[np.int64],
    ) -> DecoderPass:
        """`places` (N, T) or (3, N, T); `cached` (N, 1, P+S), slots in sight; `asked` (N, J)."""
        count, length, _ = embeddings.shape
        cos, sin = rotary_table(
            torch.from_numpy(places), config.head_dim, config.rope_theta, config.rope_sections
        )
        causal = np.tril(np.ones((length, length), dtype=np.bool_))
        seen = np.concatenate(
            (
                np.broadcast_to(cached, (count, length, cached.shape[2])),
                np.broadcast_to(causal, (count, length, length)),
            ),
            axis=2,
        )
        inputs: dict[str, NDArray[np.generic]] = {
            "embeddings": embeddings.numpy().astype(dtype),
            "cos": cos.numpy(),
            "sin": sin.numpy(),
            "bias": np.where(seen, np.float32(0), np.float32(-30000)),
            "logit_positions": asked,
        }
        for index, rows in enumerate(deepstack):
            added = np.zeros((1, length if name == "prefix" else 1, config.hidden), dtype=dtype)
            if name == "prefix":
                added[0, 2 : 2 + seen_rows] = rows[:seen_rows]
            inputs[f"deepstack.{index}"] = added
        shared = 0 if name == "prefix" else _PREFIX_TOKENS
        return DecoderPass(name, inputs, shared, cached.shape[2] - shared)

    see_prefix = np.ones((rows, 1, _PREFIX_TOKENS), dtype=np.bool_)
    return [
        make(
            "prefix",
            prefix[None],
            places,
            np.zeros((1, 1, 0), dtype=np.bool_),
            np.array([[_PREFIX_TOKENS - 1]]),
        ),
        make(
            "suffix",
            suffix,
            _text_places(config, np.full(rows, after), longest),
            see_prefix,
            np.stack((lengths - 1, np.zeros(rows, dtype=np.int64)), axis=1),
        ),
        make(
            "decode",
            decode,
            _text_places(config, after + lengths, _DECODE_TOKENS),
            np.concatenate((see_prefix, slots), axis=2),
            np.tile(np.arange(_DECODE_TOKENS), (rows, 1)),
        ),
    ]


def _text_places(config: DecoderConfig, first: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Positions of `length` tokens of text from `first` (N,) on: (N, T), or (3, N, T) for M-RoPE."""
    places: NDArray[np.int64] = first[:, None] + np.arange(length)
    return np.stack([places] * 3) if config.rope_sections else places


def _prefix_places(config: DecoderConfig, image_rows: int) -> tuple[NDArray[np.int64], int]:
    """Positions of the prefix, like `_text_places`, and that of the token after it.

    With M-RoPE the image's rows stand in lines of three, from the third token on.
    """
    places = _text_places(config, np.zeros(1, dtype=np.int64), _PREFIX_TOKENS)
    if not config.rope_sections:
        return places, _PREFIX_TOKENS
    line, column = np.divmod(np.arange(image_rows), 3)
    places[:, 0, 2 : 2 + image_rows] = 2 + np.stack((np.zeros_like(line), line, column))
    after = int(places[:, 0, : 2 + image_rows].max()) + 1
    places[:, 0, 2 + image_rows :] = after + np.arange(_PREFIX_TOKENS - 2 - image_rows)
    return places, after + _PREFIX_TOKENS - 2 - image_rows


def to_tensor(array: NDArray[np.generic]) -> Tensor:
    """A tensor with the values of an array: whole numbers as they are, others in float32."""
    return torch.from_numpy(array if array.dtype.kind == "i" else array.astype(np.float32))
