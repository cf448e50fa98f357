# SPDX-License-Identifier: Apache-2.0
"""Measures how large the inputs of the decoder's linear layers become on examples of real work.

Which examples these are is the caller's choice (`edgepose.examples` makes them from images), and what follows
from the ranges is decided in `edgepose.export.smoothing`.

The float model of PyTorch runs one layer at a time over all examples, so that memory holds the weights of one
layer and the hidden states of the examples, whatever the size of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.errors import InvalidInputError
from edgepose.export.architectures.description import Architecture
from edgepose.export.decoder_passes import to_tensor
from edgepose.export.models import DecoderConfig
from edgepose.export.models.config import ModelConfig
from edgepose.export.models.llama import DecoderLayer, rotary_table
from edgepose.export.models.loading import load_module

__all__ = ["INPUTS", "Example", "LayerRanges", "measure_ranges"]

INPUTS: Mapping[str, tuple[str, ...]] = {
    "self_attn.q_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}
"""The four inputs of a layer's linear layers, each called after the first that it goes into."""


_ROWS = 256
"""About so many of the inputs of each layer are kept."""


class Example(Protocol):
    """One image and what follows it; `edgepose.examples.Example` is one."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def vision(self) -> Mapping[str, NDArray[np.generic]]:
        """Inputs of the vision encoder, by name."""

    @property
    def prefix(self) -> Sequence[int]:
        """Token ids that all continuations share, P of them; -1 for each row of the image embeddings."""

    @property
    def positions(self) -> NDArray[np.int64]:
        """Rotary positions of the prefix, (P,), or (3, P) for M-RoPE."""

    @property
    def after(self) -> int:
        """Position of the first token behind the prefix, on all axes; the others count on."""

    @property
    def continuations(self) -> Sequence[Sequence[int]]:
        """Token ids of several questions with their answers, at least one token each."""


@dataclass(frozen=True, slots=True, repr=False)
class LayerRanges:
    """What one layer's linear layers are given, by the names of `INPUTS`."""

    inputs: Mapping[str, Tensor]
    """(inputs,) float32: of each channel, over all tokens of all examples."""
    columns: Mapping[str, Tensor]
    """(inputs,) float32: of the weights that a channel is multiplied with."""
    rows: Mapping[str, Tensor]
    """(R, inputs) float32: some of the inputs themselves, spread over the tokens of all examples."""


def measure_ranges(
    architecture: Architecture[Any, Any],
    config: ModelConfig[Any, Any],
    weights: Mapping[str, Tensor],
    examples: Iterable[Example],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[LayerRanges]:
    """Runs the float model over examples.

    Args:
        architecture: What the model is made of.
        config: Sizes of all parts.
        weights: Canonical name to tensor; read one layer at a time.
        examples: At least one.
        progress: Called with steps done and steps in all.

    Yields:
        Ranges of each layer of the decoder.

    Raises:
        InvalidInputError: There is no example, or an activation is not finite.
    """
    layers = config.decoder.layers
    runs = _embed_all(architecture, config, weights, examples)
    if not runs:
        raise InvalidInputError("[calibration] expected at least one example; got none; name some images")
    if progress is not None:
        progress(1, layers + 1)
    for layer in range(layers):
        yield _measure_layer(config.decoder, layer, weights, runs)
        if progress is not None:
            progress(layer + 2, layers + 1)


@torch.inference_mode()
def _embed_all(
    architecture: Architecture[Any, Any],
    config: ModelConfig[Any, Any],
    weights: Mapping[str, Tensor],
    examples: Iterable[Example],
) -> list[_Run]:
    table = weights["decoder.embed_tokens.weight"]
    return [_Run(architecture, config, weights, table, example) for example in examples]


@torch.inference_mode()
def _measure_layer(
    config: DecoderConfig, layer: int, weights: Mapping[str, Tensor], runs: Sequence[_Run]
) -> LayerRanges:
    """Takes all examples through one layer, whose weights are gone when it returns."""
    name = f"decoder.layers.{layer}"
    module = load_module(lambda: DecoderLayer(config), f"{name}.", weights)
    recorder = _Recorder(name, max(1, _ROWS // (2 * len(runs))))
    for first in INPUTS:
        module.get_submodule(first).register_forward_pre_hook(recorder.hook(first))
    for run in runs:
        run.advance(module, layer, recorder)
    columns = {
        first: torch.stack([_columns(module.get_submodule(name)) for name in names]).amax(dim=0)
        for first, names in INPUTS.items()
    }
    return LayerRanges(
        recorder.largest, columns, {first: torch.cat(some) for first, some in recorder.some.items()}
    )


def _columns(linear: nn.Module) -> Tensor:
    """Largest magnitude of each column of a layer's weight."""
    low, high = torch.aminmax(linear.get_parameter("weight"), dim=0)
    return torch.maximum(-low, high)


class _Recorder:
    """Takes note of what goes into the linear layers of one decoder layer."""

    rows: Tensor
    """(N, T) bool: the tokens that count, set before each run of the layer."""
    example: str
    """Name of the example that runs."""

    def __init__(self, name: str, kept: int) -> None:
        """`kept`: rows to keep of each run of the layer."""
        self.largest: dict[str, Tensor] = {}
        """By the names of `INPUTS`, over all rows that have counted."""
        self.some: dict[str, list[Tensor]] = {first: [] for first in INPUTS}
        """Rows that were kept."""
        self._name = name
        self._kept = kept

    def hook(self, first: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        """For one of `INPUTS`; to be called before the module runs."""

        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = given[0][self.rows]
            largest = rows.abs().amax(dim=0)
            if not torch.isfinite(largest).all():
                raise InvalidInputError(
                    f"[calibration] expected finite numbers at {self._name}.{first} in the float model; got "
                    f"{float(largest.sum()):g} on {self.example}; leave it out, or mend the checkpoint"
                )
            self.largest[first] = torch.maximum(self.largest.get(first, largest), largest)
            places = torch.linspace(0, len(rows) - 1, min(self._kept, len(rows))).round().long()
            self.some[first].append(rows[places])

        return note


class _Run:
    """One example on its way through the layers."""

    def __init__(
        self,
        architecture: Architecture[Any, Any],
        config: ModelConfig[Any, Any],
        weights: Mapping[str, Tensor],
        table: Tensor,
        example: Example,
    ) -> None:
        self._config: DecoderConfig = config.decoder
        self._name = example.name
        seen = {name: to_tensor(array) for name, array in example.vision.items()}
        rows = architecture.run_connector(
            config, weights, architecture.run_vision_encoder(config, weights, seen)
        )
        width = self._config.hidden
        ids = torch.tensor(example.prefix)
        self._image = torch.nonzero(ids < 0)[:, 0]
        self._prefix = _embed(table, ids.clamp(min=0)[None])
        self._prefix[0, self._image] = rows["image_embeddings"].reshape(-1, width)
        self._deepstack = [
            rows[f"deepstack.{level}"].reshape(-1, width) for level in range(self._config.deepstack)
        ]
        lengths = torch.tensor([len(ids) for ids in example.continuations])
        longest = int(lengths.max())
        self._rows = torch.arange(longest) < lengths[:, None]
        padded = torch.zeros(len(lengths), longest, dtype=torch.int64)
        padded[self._rows] = torch.tensor([token for ids in example.continuations for token in ids])
        self._rest = _embed(table, padded)
        positions = torch.from_numpy(example.positions).unsqueeze(-2)
        behind = (example.after + torch.arange(longest)).expand(*positions.shape[:-1], -1)
        self._prefix_angles, self._rest_angles = self._angles(positions), self._angles(behind)

    def advance(self, module: DecoderLayer, layer: int, recorder: _Recorder) -> None:
        """Goes through one layer."""
        count, length = self._rows.shape
        shared = self._prefix.shape[1]
        recorder.example = self._name
        recorder.rows = torch.ones(1, shared, dtype=torch.bool)
        causal = torch.ones(shared, shared, dtype=torch.bool).tril()[None, None]
        self._prefix, past = module(self._prefix, *self._prefix_angles, causal, None)
        recorder.rows = self._rows
        causal = torch.ones(length, shared + length, dtype=torch.bool).tril(shared)[None, None]
        key, value = (half.expand(count, -1, -1, -1) for half in past)
        self._rest, _ = module(self._rest, *self._rest_angles, causal, (key, value))
        if layer < len(self._deepstack):
            self._prefix[0, self._image] += self._deepstack[layer]

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        config = self._config
        cos, sin = rotary_table(positions, config.head_dim, config.rope_theta, config.rope_sections)
        return cos.unsqueeze(1), sin.unsqueeze(1)


def _embed(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of the embedding table, (N, T, hidden) float32; a copy."""
    return table[ids].to(torch.float32)
