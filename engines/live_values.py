# SPDX-License-Identifier: Apache-2.0
"""How much memory the intermediate values of a network take at the shapes that its inputs have.

What else building and running take does not belong here: see `edgepose.engines.memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["live_bytes"]


def live_bytes(trt: Any, network: Any) -> int:
    """Memory of intermediate values at the shapes that the inputs have now, were nothing fused."""
    views = {trt.LayerType.SHUFFLE, trt.LayerType.IDENTITY, trt.LayerType.CONSTANT, trt.LayerType.SHAPE}
    kept = {network.get_output(index).name for index in range(network.num_outputs)}
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    source: dict[str, str] = {}
    last: dict[str, int] = {}
    weights = {layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.CONSTANT}
    for index, layer in enumerate(layers):
        taken = [layer.get_input(i) for i in range(layer.num_inputs)]
        names = [item.name for item in taken if item is not None]
        result = layer.get_output(0).name
        if names and all(name in weights for name in names):
            weights.add(result)  # folded, or dequantized on the way into a product
        elif names and layer.type in views:
            source[result] = source.get(names[0], names[0])
        for name in names:
            last[source.get(name, name)] = index
    ends: dict[int, list[str]] = {}
    for name, index in last.items():
        ends.setdefault(index, []).append(name)
    held: dict[str, int] = {}
    live = most = 0
    for index, layer in enumerate(layers):
        for number in range(layer.num_outputs):
            item = layer.get_output(number)
            if layer.type not in views and item.name not in kept and item.name not in weights:
                held[item.name] = _volume(item.shape) * int(item.dtype.itemsize)
                live += held[item.name]
        most = max(most, live)
        for name in ends.get(index, ()):
            live -= held.pop(name, 0)
    return most


def _volume(shape: Sequence[int]) -> int:
    size = 1
    for count in shape:
        size *= max(0, count)
    return size
