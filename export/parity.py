# SPDX-License-Identifier: Apache-2.0
"""Compares every exported graph with PyTorch on the same inputs, and keeps inputs and answers as goldens.

Judging a bundle on another machine belongs to `edgepose.verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepose.bundle import ANSWER_HEAD, CONNECTOR, LLM_DECODER, LM_HEAD, VISION_ENCODER, PrecisionSpec
from edgepose.errors import EdgePoseError
from edgepose.export.architectures.description import Architecture, Tensors
from edgepose.export.decoder_parity import compare_decoder
from edgepose.export.decoder_passes import TOKENS_NEEDED, make_passes, to_tensor
from edgepose.export.goldens import Golden, worst_row_error
from edgepose.export.graphs.reader import ExportedGraph, open_session
from edgepose.export.models.config import ConnectorSizes, ModelConfig, VisionSizes

__all__ = ["TOLERANCES", "GraphParity", "check_parity"]

TOLERANCES: Mapping[str, float] = MappingProxyType(
    {"float32": 5e-4, "float16": 3e-2, "int8": 3e-2, "int8-fp16": 1e-1}
)
"""Largest `worst_row_error` against PyTorch in float32 with the same weights, by activation type.

Of a decoder layer, of any other graph as a whole. float32: sums in another order, a few 1e-6; wrong masks,
angles or weights show as 1e-1 and more. float16: every activation is rounded by up to 5e-4, and the vision
encoder has two dozen layers of them. Of a decoder that rounds to INT8, by precision: what another order of
sums, or float16, moves across the middle between two steps then differs by a whole step.
"""

_GOLDEN_FACTOR = 10.0
"""What another machine's roundings may do to a whole decoder, over what this machine's did."""

_SEED = 20250713

_Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GraphParity:
    """How far a graph is from PyTorch, as `worst_row_error`."""

    error: float
    """Against PyTorch in float32 with the weights as the graph stores them."""
    tolerance: float
    """What `layer_error`, or else `error`, may be."""
    layer_error: float | None = None
    """Like `error`, of the worst single layer on PyTorch's inputs; None for graphs that are judged as a
    whole.
    """
    quantization_error: float | None = None
    """Hidden states against PyTorch with the checkpoint's weights; None where nothing is quantized."""


def check_parity(
    folder: Path,
    architecture: Architecture[VisionSizes, ConnectorSizes],
    config: ModelConfig[VisionSizes, ConnectorSizes],
    weights: Mapping[str, Tensor],
    precision: PrecisionSpec,
    token_ids: tuple[int, ...],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, GraphParity], list[Golden]]:
    """Runs every graph of an export and PyTorch on inputs made from a fixed seed.

    The answers of one graph are the inputs of the next, so all inputs have realistic sizes.

    Args:
        folder: Where the graphs are.
        architecture: What the model is made of.
        config: Sizes of all parts.
        weights: Canonical name to tensor; read one layer at a time.
        precision: Types of the graphs.
        token_ids: Tokens that the columns of `answer_head` stand for.
        progress: Called with steps done and steps in all.

    Returns:
        Parity by graph, and the goldens.

    Raises:
        EdgePoseError: A graph is further from PyTorch than its tolerance.
    """
    check = _Check(folder, config, weights, precision, progress)
    with torch.inference_mode():
        pixels = architecture.sample_vision_inputs(config, check.dtype, _SEED)
        features = check.graph(
            VISION_ENCODER, pixels, lambda given: architecture.run_vision_encoder(config, weights, given)
        )
        image = check.graph(
            CONNECTOR,
            {name: array.astype(check.dtype) for name, array in features.items()},
            lambda given: architecture.run_connector(config, weights, given),
        )
        hidden = check.decoder(image)
        check.heads(hidden, token_ids)
    return check.parity, check.goldens


class _Check:
    """One comparison of all graphs."""

    def __init__(
        self,
        folder: Path,
        config: ModelConfig[Any, Any],
        weights: Mapping[str, Tensor],
        precision: PrecisionSpec,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.weights = weights
        self.precision = precision
        self.dtype = np.dtype(precision.activations)
        # PyTorch has the checkpoint's weights, which need not be float16.
        self.tolerance = TOLERANCES["float16" if precision.half_storage else precision.activations]
        self.parity: dict[str, GraphParity] = {}
        self.goldens: list[Golden] = []
        self._progress = progress
        self._done = 0

    def graph(
        self,
        name: str,
        inputs: dict[str, NDArray[np.generic]],
        run: Callable[[Tensors], Mapping[str, Tensor]],
    ) -> dict[str, _Array]:
        """Compares a graph with `run`, PyTorch's part for the same inputs; returns PyTorch's answers."""
        expected: dict[str, _Array] = {
            key: answer.numpy()
            for key, answer in run({key: to_tensor(array) for key, array in inputs.items()}).items()
        }
        self._compare(name, inputs, expected)
        return expected

    def heads(self, hidden: _Array, token_ids: tuple[int, ...]) -> None:
        """Compares both heads on hidden states (M, hidden)."""
        inputs = hidden.astype(self.dtype)
        weight = self.weights["lm_head.weight"]
        rows = weight[list(token_ids)].to(torch.float32)
        expected = torch.cat(
            [
                to_tensor(inputs) @ part.to(torch.float32).T
                for part in torch.chunk(weight, max(1, len(weight) // 4096))
            ],
            dim=1,
        )
        del weight
        self._compare(LM_HEAD, {"hidden": inputs}, {"logits": expected.numpy()})
        self._compare(ANSWER_HEAD, {"hidden": inputs}, {"logits": (to_tensor(inputs) @ rows.T).numpy()})

    def decoder(self, image: Mapping[str, _Array]) -> _Array:
        """Compares the decoder on outputs of the connector; returns hidden states (M, hidden)."""
        graph = ExportedGraph(self.folder / f"{LLM_DECODER}.onnx")
        width = self.config.decoder.hidden
        rows = image["image_embeddings"].reshape(-1, width)
        deepstack = [image[f"deepstack.{index}"] for index in range(self.config.decoder.deepstack)]
        passes = make_passes(self.config.decoder, rows, deepstack, self._token_embeddings(), self.dtype)
        quantized = self.precision.weights in ("int4", "int8")
        found = compare_decoder(
            graph, self.config.decoder, self.weights, passes, quantized=quantized, step=self._step
        )
        tolerance = TOLERANCES.get(self.precision.name, self.tolerance)
        self._record(
            LLM_DECODER, GraphParity(found.error, tolerance, found.layer_error, found.quantization_error)
        )
        tolerance = min(1.0, max(tolerance, _GOLDEN_FACTOR * found.error))
        for step, outputs in zip(passes, found.outputs, strict=True):
            self.goldens.append(Golden(LLM_DECODER, step.name, step.inputs, outputs, tolerance))
        return np.concatenate([outputs["hidden"].reshape(-1, width) for outputs in found.outputs])

    def _token_embeddings(self) -> Tensor:
        """Some rows of the embedding table, (tokens, hidden)."""
        ids = np.random.default_rng(_SEED).integers(0, self.config.decoder.vocabulary, TOKENS_NEEDED)
        return self.weights["decoder.embed_tokens.weight"][torch.from_numpy(ids)].to(torch.float32)

    def _compare(
        self, graph: str, inputs: dict[str, NDArray[np.generic]], expected: dict[str, _Array]
    ) -> None:
        session = open_session(self.folder / f"{graph}.onnx", prepack=False)
        answers = session.run(list(expected), inputs)
        error = max(worst_row_error(a, b) for a, b in zip(answers, expected.values(), strict=True))
        self._record(graph, GraphParity(error, self.tolerance))
        self.goldens.append(Golden(graph, "sample", inputs, expected, self.tolerance))
        self._step()

    def _record(self, graph: str, parity: GraphParity) -> None:
        judged = parity.error if parity.layer_error is None else parity.layer_error
        if not (judged <= parity.tolerance and np.isfinite(parity.error)):
            raise EdgePoseError(
                f"[parity {graph}] expected the exported graph to agree with PyTorch within "
                f"{parity.tolerance:g}; got {judged:g} ({parity.error:g} over all layers); try a precision "
                "with float32 activations, and if that differs too, report it with its config.json"
            )
        self.parity[graph] = parity

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self.config.decoder.layers + 4)
