# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph with its weights: linear layers and norms, stored and rounded as the precision has it.

What the graphs compute does not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.nodes import NodeGraph, onnx_type
from edgepose.export.graphs.weight_file import WeightFile
from edgepose.export.quantize import block_size

__all__ = ["GraphBuilder"]


class GraphBuilder(NodeGraph):
    """One ONNX graph under construction, weights and all.

    Initializers have the canonical names of the weights. They go straight to `PATH.data`; memory holds the
    one being written. Used as a context manager, it writes `PATH` at the end, and removes both files when the
    body raises.

    Example:
        with GraphBuilder(folder / "connector.onnx", PRECISIONS["fp32"], weights) as graph:
            features = graph.input("features", graph.dtype, ("B", 256, 1024))
            embeddings = graph.linear(features, "connector.0", bias=True)
            graph.output("image_embeddings", embeddings, graph.dtype, ("B", 256, 4096))
    """

    def __init__(self, path: Path, precision: PrecisionSpec, weights: Mapping[str, Tensor]) -> None:
        """Opens the data file.

        Args:
            path: `.onnx` file to write; weights go to `PATH.data`.
            precision: Types of weights and activations.
            weights: Canonical name to tensor, read when asked for.
        """
        super().__init__(path, np.dtype(precision.activations))
        self.weights = weights
        self.precision = precision
        self._stored = np.dtype(np.float16) if precision.half_storage else self.dtype
        self.full_precision: list[str] = []
        """Weights that were to be quantized and are not: because no INT4 block divides their width, say."""
        self._file = WeightFile(path.with_name(path.name + ".data"))
        self._rounded: dict[tuple[str, float], list[str]] = {}

    def __enter__(self) -> GraphBuilder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.close()
            self._write_graph()
        else:
            self._file.discard()

    def weight(self, name: str) -> str:
        """Stores a weight under its canonical name; the value has the activation type.

        Raises:
            InvalidInputError: It holds values that the type cannot, or that are no numbers.
        """
        return self._store(name, self.weights[name])

    def linear(
        self, x: str, layer: str, *, bias: bool = False, int4: bool = False, int8: float | None = None
    ) -> str:
        """Adds `x @ weight.T + bias`.

        Args:
            x: (..., inputs), activation type.
            layer: Canonical name of the layer, that is of its weights less `.weight` and `.bias`.
                `weight` is (outputs, inputs) as PyTorch keeps it, and stored as (inputs, outputs).
            bias: Whether it has a bias.
            int4: Store the weight as block-wise INT4 with a DequantizeLinear, where a block divides `inputs`.
            int8: Step at which `x` is rounded to INT8; the weight is stored as INT8, one step for each
                output.

        Returns:
            (..., outputs), activation type.

        Raises:
            InvalidInputError: As for `weight`.
        """
        name = f"{layer}.weight"
        weight = self.weights[name]
        with self.scope(layer.rpartition(".")[2]):
            block = block_size(weight.shape[1], weight.shape[0]) if int4 else None
            if int4 and block is None:
                self.full_precision.append(name)
            if int8 is not None:
                x, matrix = self._round(x, int8), self._store_int8(name, weight)
            elif block is not None:
                matrix = self._store_int4(name, weight, block)
            else:
                matrix = self._store(name, weight.T)
            del weight
            product = self.op("MatMul", x, matrix)
            return self.op("Add", product, self.weight(f"{layer}.bias")) if bias else product

    def layer_norm(self, x: str, layer: str, epsilon: float) -> str:
        """Adds a layer norm over the last axis; statistics in float32 whatever the type.

        Args:
            x: (..., channels), activation type.
            layer: Canonical name of the layer, whose weights are `.weight` and `.bias`.
            epsilon: Added to the variance.

        Raises:
            InvalidInputError: As for `weight`.
        """
        scale, bias = self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon, stash_type=1)

    def _store(self, name: str, tensor: Tensor) -> str:
        (stored,) = self._add(self._file.whole(name, tensor, self._stored))
        if self._stored == self.dtype:
            return stored
        # Runtimes fold this into the weight when they load the graph.
        return self.op("Cast", stored, to=onnx_type(self.dtype))

    def _store_int4(self, name: str, weight: Tensor, block: int) -> str:
        stored, steps = self._add(*self._file.int4(name, weight, block, self.dtype))
        return self.op("DequantizeLinear", stored, steps, axis=0, block_size=block)

    def _store_int8(self, name: str, weight: Tensor) -> str:
        stored, steps, zero = self._add(*self._file.int8(name, weight, self.dtype))
        return self.op("DequantizeLinear", stored, steps, zero, axis=1)

    def _round(self, x: str, step: float) -> str:
        """`x` at whole multiples of `step`, -128 to 127 of them.

        ONNX Runtime on x86 computes in INT8 only what has a QuantizeLinear of its own, and merges equal ones
        before it looks. So where CPUs are meant, each further layer on the same input gets a step that
        differs in the last bit. Builders for GPUs would rather have one for all, and can merge the layers.
        """
        earlier = self._rounded.setdefault((x, step), [])
        scale = np.array(max(step, float(np.finfo(self.dtype).tiny)), dtype=self.dtype)
        zero = self.constant(np.zeros((), np.int8))
        if self.dtype == np.float32 or not earlier:
            for _ in earlier:
                scale = np.nextafter(scale, self.dtype.type(np.inf), dtype=self.dtype)
            earlier.append(self.op("QuantizeLinear", x, self.constant(scale), zero))
        return self.op("DequantizeLinear", earlier[-1], self.constant(scale), zero, name="rounded")
