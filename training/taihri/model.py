# SPDX-License-Identifier: Apache-2.0
"""The whole of a Qwen3-VL for training: frames of one size and sequences of several answers to logits.

The parts are those of `edgepose.export.models`. Files do not belong here: see `checkpoint`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepose.bundle import FrameSpec
from edgepose.export.models import Decoder, KeyValue, ModelConfig
from edgepose.export.models.qwen3_vl import GridVisionConfig, GridVisionEncoder, Mergers, MergersConfig
from edgepose.training.taihri.frames import GridPlaces, grid_places
from edgepose.training.taihri.packing import Packed

__all__ = ["FrameRows", "TaihriConfig", "TaihriModel"]

TaihriConfig = ModelConfig[GridVisionConfig, MergersConfig]


@dataclass(frozen=True, slots=True)
class FrameRows:
    """What the decoder is given of frames of one size."""

    embeddings: Tensor
    """(B, R, hidden), row by row of the merged grid."""
    deepstack: tuple[Tensor, ...]
    """(B, R, hidden) for each tap, added behind the decoder's first layers."""
    rows: int
    columns: int

    def repeated(self, times: int) -> FrameRows:
        """Each frame that many times, one behind the other."""
        return FrameRows(
            self.embeddings.repeat_interleave(times, dim=0),
            tuple(each.repeat_interleave(times, dim=0) for each in self.deepstack),
            self.rows,
            self.columns,
        )

    def __getitem__(self, places: slice) -> FrameRows:
        return FrameRows(
            self.embeddings[places], tuple(each[places] for each in self.deepstack), self.rows, self.columns
        )


class TaihriModel(nn.Module):
    """Its state-dict names are the canonical names of `edgepose.export.weights`."""

    def __init__(self, config: TaihriConfig, view: FrameSpec) -> None:
        """
        Args:
            config: Sizes of all parts.
            view: How frames become patches.
        """
        super().__init__()
        self.config, self.view = config, view
        self.vision = GridVisionEncoder(config.vision)
        self.connector = Mergers(config.connector)
        self.decoder = Decoder(config.decoder)
        if not config.tied_head:
            self.lm_head = nn.Linear(config.decoder.hidden, config.decoder.vocabulary, bias=False)
        self._places = functools.lru_cache(64)(self._make_places)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.embed_tokens.weight.device

    def see(self, patches: Tensor, height: int, width: int) -> FrameRows:
        """Encodes frames.

        Args:
            patches: (B, P, 3 * patch_size * patch_size).
            height: Of the frames, pixels, as `FocalFrame.model_size` has it.
            width: Likewise.
        """
        places = self._places(height, width, patches.device)
        features, taps = self.vision(patches, places.indices, places.weights, places.cos, places.sin)
        embeddings, deepstack = self.connector(features, taps)
        return FrameRows(embeddings, tuple(deepstack), places.rows, places.columns)

    def read(self, frames: FrameRows, packed: Packed) -> Tensor:
        """Hidden states of sequences at the places whose next token is learnt.

        Args:
            frames: One for each sequence.
            packed: The sequences, on the model's device.

        Returns:
            (M, hidden), after the final norm; M places as in `packed.where`.
        """
        embeddings, deepstack = self.insert(frames, packed.ids, packed.image_start)
        hidden, _ = self.decoder(
            embeddings, positions=packed.positions, allowed=packed.allowed, deepstack=deepstack
        )
        learnt: Tensor = hidden.flatten(0, 1)[packed.where]
        return learnt

    def insert(self, frames: FrameRows, ids: Tensor, start: int) -> tuple[Tensor, list[Tensor]]:
        """Embeds sequences that hold a frame from place `start` on, each (N, T, hidden)."""
        count = frames.embeddings.shape[1]
        text: Tensor = self.decoder.embed_tokens(ids.masked_fill(ids == self.config.image_token, 0))
        image = frames.embeddings.to(text.dtype)
        embeddings = torch.cat((text[:, :start], image, text[:, start + count :]), dim=1)
        rest = ids.shape[1] - start - count
        return embeddings, [functional.pad(each, (0, 0, start, rest)) for each in frames.deepstack]

    def step(
        self, ids: Tensor, positions: Tensor, mask: Tensor, past: list[KeyValue]
    ) -> tuple[Tensor, list[KeyValue]]:
        """Runs one more token of each of several sequences.

        Args:
            ids: (N,) token ids.
            positions: (N,) of the tokens, the same on all three axes.
            mask: (N, L+1), which tokens are none of padding.
            past: What was run before.

        Returns:
            Logits (N, vocabulary), and what has been run now.
        """
        hidden, present = self.decoder(
            self.decoder.embed_tokens(ids[:, None]),
            positions=positions[None, :, None].expand(3, -1, 1),
            mask=mask,
            past=past,
        )
        return self.logits(hidden[:, 0]), present

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., hidden) to (..., vocabulary)."""
        head = self.decoder.embed_tokens if self.config.tied_head else self.lm_head
        return functional.linear(hidden, head.weight)

    def _make_places(self, height: int, width: int, device: torch.device) -> GridPlaces:
        vision = self.config.vision
        places = grid_places(
            height,
            width,
            self.view,
            table_side=vision.table_side,
            head_dim=vision.head_dim,
            theta=vision.rope_theta,
        )
        return GridPlaces(
            places.rows,
            places.columns,
            *(each.to(device) for each in (places.indices, places.weights, places.cos, places.sin)),
        )
