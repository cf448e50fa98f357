# SPDX-License-Identifier: Apache-2.0
"""Prepares a decoder for INT8 activations: moves what makes them hard to round into the weights.

One step for a whole tensor is as wide as its largest channel asks for, and leaves little to the others. So a
channel is divided by a factor, and what it is multiplied with behind that is multiplied by the same factor.
Both can be folded into weights, exactly, at all four inputs of a layer's linear layers:

    queries, keys, values   the norm before them; their columns
    o_proj                  rows of v_proj (attention mixes tokens, never channels); columns of o_proj
    gate_proj, up_proj      the norm before them; their columns
    down_proj               rows of up_proj (the gate multiplies channel by channel); columns of down_proj

Where rounding would still do more harm than INT4 weights do, as where one token in a thousand is a thousand
times as large as the others, a layer is left as it is.

Measuring ranges does not belong here, writing integers does not either.

Source: SmoothQuant (arXiv 2211.10438), whose factors these are; it folds into norms only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.activation_ranges import INPUTS, LayerRanges
from edgepose.export.models import DecoderConfig
from edgepose.export.quantize_int8 import LARGEST

__all__ = ["SmoothedDecoder", "smooth"]

_MOST = 0.1
"""Largest error of a product that is accepted: that of INT4 weights in blocks of 64, see
`edgepose.export.quantize`."""

_CHUNK_ROWS = 1024
"""Outputs whose error is measured at a time: bounds the memory of copies."""

_SMALLEST = 1e-3
"""A channel or a column below this share of the largest counts as this share."""


@dataclass(frozen=True, slots=True, repr=False)
class SmoothedDecoder:
    """What `smooth` has found."""

    weights: Mapping[str, Tensor]
    """The weights with the factors folded in, by canonical name, float32 where they changed."""
    steps: Mapping[str, float]
    """By canonical name of a linear layer less `.weight`: at which step its input is to be rounded. Layers
    that are not here are to stay whole."""
    errors: Mapping[str, float]
    """By the same names, of all layers: how far its outputs would be from those of the float model, median
    over tokens, relative to their length."""


def smooth(
    config: DecoderConfig,
    weights: Mapping[str, Tensor],
    ranges: Iterable[LayerRanges],
    *,
    strength: float,
    largest: float,
) -> SmoothedDecoder:
    """Chooses factors and steps.

    The factor of a channel is `range ** strength / column ** (1 - strength)`: its range among the examples,
    and the largest weight it is multiplied with.

    Args:
        config: Sizes of the decoder.
        weights: Canonical name to tensor; read one at a time.
        ranges: Of each layer.
        strength: How much of the difficulty goes to the weights: 0 to 1.
        largest: Largest number of the activation type.

    Raises:
        InvalidInputError: `strength` is not in its range, or a range is too large for the activation type.
    """
    if not 0 <= strength <= 1:
        raise InvalidInputError(
            f"[export] expected a smoothing strength from 0 to 1; got {strength!r}; try 0.7"
        )
    factors: dict[str, Tensor] = {}
    steps: dict[str, float] = {}
    errors: dict[str, float] = {}
    for layer, found in enumerate(ranges):
        for first, names in INPUTS.items():
            full = [f"decoder.layers.{layer}.{name}" for name in names]
            seen, columns = found.inputs[first], found.columns[first]
            heads = first == "self_attn.o_proj"
            if heads:
                seen, columns = _over_heads(config, seen), _over_heads(config, columns)
            chosen = _factors(seen, columns, strength)
            after = float((seen / chosen).max())
            _refuse_overflow(full[0], max(float(seen.max()), after), largest)
            # Where nothing was seen, any step will do.
            step = after / LARGEST or 1.0 / LARGEST
            each = _for_heads(config, chosen) if heads else chosen
            found_errors = [_error(found.rows[first], weights[f"{name}.weight"], each, step) for name in full]
            errors.update(zip(full, found_errors, strict=True))
            if max(found_errors) > _MOST:
                chosen = torch.ones_like(chosen)
            else:
                steps.update(dict.fromkeys(full, step))
            factors[full[0]] = chosen
    return SmoothedDecoder(_SmoothedWeights(config, weights, factors), steps, errors)


def _error(rows: Tensor, weight: Tensor, factors: Tensor, step: float) -> float:
    """Median over `rows` of the error of their products with a weight, relative to the products' length."""
    rounded = torch.clamp(torch.round(rows / factors / step), -128, 127) * step
    wrong, length = torch.zeros(len(rows)), torch.zeros(len(rows))
    for part in torch.split(weight, _CHUNK_ROWS):
        outputs = part.to(torch.float32)
        smoothed = outputs * factors
        scales = (smoothed.abs().amax(dim=1, keepdim=True) / LARGEST).clamp(min=1e-30)
        product = rows @ outputs.T
        wrong += (rounded @ (torch.round(smoothed / scales) * scales).T - product).square().sum(dim=1)
        length += product.square().sum(dim=1)
    return float((wrong / length.clamp(min=1e-30)).median().sqrt())


def _refuse_overflow(layer: str, seen: float, largest: float) -> None:
    if seen > largest:
        raise InvalidInputError(
            f"[calibration] expected the input of {layer} to fit the activation type, up to {largest:g}; got "
            f"{seen:g}; choose a precision with float32 activations"
        )


def _factors(seen: Tensor, columns: Tensor, strength: float) -> Tensor:
    """Factors of channels, with a geometric mean of 1, so that numbers keep their size on the whole."""
    if not float(seen.max()) or not float(columns.max()):
        return torch.ones_like(seen)
    ranges, weights = (each.double().clamp(min=float(each.max()) * _SMALLEST) for each in (seen, columns))
    logarithm = strength * ranges.log() - (1 - strength) * weights.log()
    return (logarithm - logarithm.mean()).exp().float()


def _over_heads(config: DecoderConfig, channels: Tensor) -> Tensor:
    """Largest over the heads that share a value: (heads * head_dim,) to (kv_heads * head_dim,)."""
    group = config.heads // config.kv_heads
    return channels.view(config.kv_heads, group, config.head_dim).amax(dim=1).flatten()


def _for_heads(config: DecoderConfig, factors: Tensor) -> Tensor:
    """The other way round: a value's factor for each of the heads that share it."""
    shaped = factors.view(config.kv_heads, 1, config.head_dim)
    return shaped.expand(-1, config.heads // config.kv_heads, -1).flatten()


class _SmoothedWeights(Mapping[str, Tensor]):
    """The weights of a model with factors folded in; like those it is made from, it keeps nothing."""

    def __init__(
        self, config: DecoderConfig, weights: Mapping[str, Tensor], factors: Mapping[str, Tensor]
    ) -> None:
        self._config = config
        self._weights = weights
        self._factors = factors

    def __getitem__(self, name: str) -> Tensor:
        layer, part = self._split(name)
        tensor = self._weights[name]
        if part in ("input_layernorm", "post_attention_layernorm"):
            first = "self_attn.q_proj" if part == "input_layernorm" else "mlp.gate_proj"
            return tensor.to(torch.float32) / self._factors[f"{layer}.{first}"]
        columns = next((first for first, names in INPUTS.items() if part in names), None)
        if columns is None:
            return tensor
        factors = self._factors[f"{layer}.{columns}"]
        if part == "self_attn.o_proj":
            factors = _for_heads(self._config, factors)
        changed = tensor.to(torch.float32) * factors
        rows = {"self_attn.v_proj": "self_attn.o_proj", "mlp.up_proj": "mlp.down_proj"}.get(part)
        return changed if rows is None else changed.div_(self._factors[f"{layer}.{rows}"][:, None])

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    @staticmethod
    def _split(name: str) -> tuple[str, str]:
        """`decoder.layers.3.mlp.up_proj.weight` to `decoder.layers.3` and `mlp.up_proj`."""
        if not name.startswith("decoder.layers."):
            return "", ""
        parts = name.split(".")
        return ".".join(parts[:3]), ".".join(parts[3:-1])
