# SPDX-License-Identifier: Apache-2.0
"""Runs the exported decoder and the PyTorch decoder side by side, layer by layer, over three passes.

What difference is too much is decided in `edgepose.export.parity`.

Note [Streaming parity]: opening a whole INT4 decoder costs ONNX Runtime twice its size (measured on 8 layers
of the published width, 0.91 GB on disk: 1.8 GB resident; 1.2 GB without pre-packing), and PyTorch in float32
eight times. So the decoder is compared layer by layer: the nodes of one layer are cut from the exported graph
and run on the weights in its data file, beside the PyTorch module of that layer. The passes of a decode
depend on each other only through the caches of one and the same layer, so prefix, suffix and decode pass go
through a layer together, and one sweep over the layers is all three runs.

Every layer of the graph runs twice. Once on what PyTorch's layers before it answered: that error is the
graph's own and is held against the tolerance. And once on what the graph's own layers answered: at the end
that is the error of the whole graph. How much a model amplifies roundings from layer to layer is its own
affair, so that error is reported and sets the tolerance of the goldens, but must only be finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.export.decoder_passes import DecoderPass, to_tensor
from edgepose.export.goldens import worst_row_error
from edgepose.export.graphs.llama import layer_result
from edgepose.export.graphs.reader import ExportedGraph, open_session
from edgepose.export.models import DecoderConfig
from edgepose.export.models.llama import DecoderLayer, RmsNorm
from edgepose.export.models.loading import load_module

__all__ = ["DecoderComparison", "compare_decoder"]

_Array = NDArray[np.float32]
_KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer in the layout of the graphs, (kv_heads, N, length, head_dim)."""


@dataclass(frozen=True, slots=True, repr=False)
class DecoderComparison:
    """Differences as `worst_row_error`, and what PyTorch answered with the weights that the graph stores."""

    error: float
    """Of the graph as a whole, fed with its own results."""
    layer_error: float
    """Of the worst single layer, fed with PyTorch's results."""
    quantization_error: float | None
    """Hidden states of the graph against PyTorch with the checkpoint's weights; None if they are the same."""
    outputs: list[dict[str, _Array]]
    """By pass: `hidden` (N, J, hidden), and keys and values (kv_heads, N, T, head_dim) of the last layer."""


def compare_decoder(
    graph: ExportedGraph,
    config: DecoderConfig,
    weights: Mapping[str, Tensor],
    passes: list[DecoderPass],
    *,
    quantized: bool,
    step: Callable[[], None],
) -> DecoderComparison:
    """Runs graph and PyTorch over all passes, see Note [Streaming parity].

    Args:
        graph: The exported decoder.
        config: Its sizes.
        weights: Canonical name to tensor; read one layer at a time.
        passes: As `make_passes` makes them.
        quantized: Whether the graph's weights, and the inputs that it rounds, differ on purpose from those
            of PyTorch with `weights`.
        step: Called after each layer.
    """
    routes = [_TorchRoute(config, weights, passes)]
    if quantized:
        routes.append(_TorchRoute(config, _StoredWeights(weights, graph), passes, graph.input_step))
    reference = routes[-1]
    states: list[NDArray[np.generic]] = [each.inputs["embeddings"] for each in passes]
    layer_error = error = 0.0
    for layer in range(config.layers):
        before = [_to_array(state, states[0].dtype) for state in reference.states]
        for route in routes:
            route.run_layer(layer)
        expected = [
            reference.states if layer < config.layers - 1 else reference.hidden(),
            [key for key, _ in reference.new],
            [value for _, value in reference.new],
        ]
        cut = _LayerGraph(graph, config, layer, passes)
        layer_error = max(layer_error, _worst_of(cut.run(before, reference.new), expected))
        states, *caches = cut.run(states, None)
        error = max(error, _worst_of(caches, expected[1:]))
        step()
    hidden = [route.hidden() for route in routes]
    last = config.layers - 1
    return DecoderComparison(
        error=max(error, _worst_of([states], [hidden[-1]])),
        layer_error=layer_error,
        quantization_error=_worst_of([states], [hidden[0]]) if quantized else None,
        outputs=[
            {"hidden": answer.numpy(), f"key.{last}": key.numpy(), f"value.{last}": value.numpy()}
            for answer, (key, value) in zip(hidden[-1], reference.new, strict=True)
        ],
    )


@dataclass(slots=True)
class _Caches:
    """Keys and values of one layer as the passes so far leave them for the next."""

    config: DecoderConfig
    new: list[_KeyValue] = field(default_factory=list)
    """Of each pass."""

    def given(self, step: DecoderPass) -> tuple[_KeyValue, _KeyValue]:
        """Prefix and suffix caches that a pass is given."""
        heads, width = self.config.kv_heads, self.config.head_dim
        rows = step.inputs["embeddings"].shape[0]

        def empty(count: int, length: int) -> _KeyValue:
            return torch.zeros(heads, count, length, width), torch.zeros(heads, count, length, width)

        prefix = self.new[0] if step.prefix else empty(1, 0)
        suffix = empty(rows, step.capacity)
        if step.capacity:
            for slots, values in zip(suffix, self.new[1], strict=True):
                slots[:, :, : values.shape[2]] = values
        return prefix, suffix


class _TorchRoute:
    """The PyTorch decoder, one layer at a time, over all passes."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: Mapping[str, Tensor],
        passes: list[DecoderPass],
        input_step: Callable[[str], float | None] = lambda name: None,
    ) -> None:
        """`input_step`: at which step the input of a linear layer is rounded, by its weight's name."""
        self.config = config
        self.weights = weights
        self.passes = passes
        self.input_step = input_step
        self.states = [step.embeddings for step in passes]
        self.new: list[_KeyValue] = []

    def run_layer(self, layer: int) -> None:
        module = load_module(lambda: DecoderLayer(self.config), f"decoder.layers.{layer}.", self.weights)
        for name, part in module.named_modules():
            rounding = self.input_step(f"decoder.layers.{layer}.{name}.weight")
            if rounding is not None:
                part.register_forward_pre_hook(_round_input(rounding))
        caches = _Caches(self.config)
        for index, step in enumerate(self.passes):
            prefix, suffix = caches.given(step)
            rows = self.states[index].shape[0]
            past = tuple(
                torch.cat((shared.expand(-1, rows, -1, -1), own), dim=2).transpose(0, 1)
                for shared, own in zip(prefix, suffix, strict=True)
            )
            cos, sin = to_tensor(step.inputs["cos"]).unsqueeze(1), to_tensor(step.inputs["sin"]).unsqueeze(1)
            seen = to_tensor(step.inputs["bias"]).unsqueeze(1) == 0
            state, (key, value) = module(self.states[index], cos, sin, seen, past)
            if layer < self.config.deepstack:
                state = state + to_tensor(step.inputs[f"deepstack.{layer}"])
            self.states[index] = state
            start = step.prefix + step.capacity
            caches.new.append((key[:, :, start:].transpose(0, 1), value[:, :, start:].transpose(0, 1)))
        self.new = caches.new

    def hidden(self) -> list[Tensor]:
        """Hidden states (N, J, hidden) of each pass, after the last layer."""
        norm = load_module(
            lambda: RmsNorm(self.config.hidden, self.config.rms_norm_eps), "decoder.norm.", self.weights
        )
        answers = []
        for step, state in zip(self.passes, self.states, strict=True):
            asked = (
                torch.from_numpy(step.inputs["logit_positions"]).unsqueeze(-1).expand(-1, -1, state.shape[2])
            )
            answers.append(norm(state.gather(1, asked)))
        return answers


def _round_input(step: float) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """A hook that does to a module's input what QuantizeLinear and DequantizeLinear do."""
    return lambda module, given: (torch.clamp(torch.round(given[0] / step), -128, 127) * step,)


class _LayerGraph:
    """One layer of the exported decoder in ONNX Runtime, over all passes."""

    def __init__(
        self, graph: ExportedGraph, config: DecoderConfig, layer: int, passes: list[DecoderPass]
    ) -> None:
        self.config = config
        self.layer = layer
        self.passes = passes
        self.enters = "embeddings" if layer == 0 else layer_result(config, layer - 1)
        self.outputs = [layer_result(config, layer), f"key.{layer}", f"value.{layer}"]
        self.session = open_session(graph.part([self.enters], self.outputs), graph.path.parent)
        self.asked = {value.name for value in self.session.get_inputs()}

    def run(
        self, states: list[NDArray[np.generic]], cached: list[_KeyValue] | None
    ) -> tuple[list[NDArray[np.generic]], list[NDArray[np.generic]], list[NDArray[np.generic]]]:
        """Runs each pass.

        Args:
            states: What enters the layer in each pass, (N, T, hidden).
            cached: Keys and values of this layer by pass, for the passes after them; None takes those of this
                run.

        Returns:
            By pass: what leaves the layer, keys, values.
        """
        caches = _Caches(self.config, cached if cached is not None else [])
        left, keys, values = [], [], []
        for step, state in zip(self.passes, states, strict=True):
            prefix, suffix = ([_to_array(half, state.dtype) for half in pair] for pair in caches.given(step))
            feed = {**step.inputs, self.enters: state}
            # The first layer's caches tell P and S to all layers.
            for number in {0, self.layer}:
                feed[f"prefix_key.{number}"], feed[f"prefix_value.{number}"] = prefix
                feed[f"suffix_key.{number}"], feed[f"suffix_value.{number}"] = suffix
            result, key, value = self.session.run(self.outputs, {name: feed[name] for name in self.asked})
            left.append(result)
            keys.append(key)
            values.append(value)
            if cached is None:
                caches.new.append((to_tensor(key), to_tensor(value)))
        return left, keys, values


def _worst_of(actual: Sequence[Sequence[NDArray[np.generic]]], expected: Sequence[Sequence[Tensor]]) -> float:
    """Largest `worst_row_error` of several results by pass."""
    return max(
        worst_row_error(ours, theirs.numpy())
        for result, wanted in zip(actual, expected, strict=True)
        for ours, theirs in zip(result, wanted, strict=True)
    )


class _StoredWeights(Mapping[str, Tensor]):
    """The checkpoint's weights, but linear layers of the decoder as the graph stores them."""

    def __init__(self, weights: Mapping[str, Tensor], graph: ExportedGraph) -> None:
        self._weights = weights
        self._graph = graph

    def __getitem__(self, name: str) -> Tensor:
        return self._graph.linear_weight(name) if "_proj." in name else self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def _to_array(tensor: Tensor, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """An array of the activation type; what it cannot hold becomes infinite, and shows in the comparison."""
    with np.errstate(over="ignore"):
        return tensor.numpy().astype(dtype)
