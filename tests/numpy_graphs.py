# SPDX-License-Identifier: Apache-2.0
"""A bundle's decoder graphs in NumPy, by the same contract of names, shapes and types as the ONNX files.

Checks of the decoder's answers do not belong here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Graphs, TensorView

from .numpy_decoder import Layer, Model, rms_norm, rotate, silu, softmax

Array = NDArray[Any]


class NumpyGraphs(Graphs):
    """Runs `llm_decoder`, `lm_head` and `answer_head` of `model` on the core's memory.

    `answer_head`: the token of each column of that graph.
    """

    def __init__(self, model: Model, answer_head: list[int]) -> None:
        super().__init__()
        self._model = model
        self._answer_head = answer_head
        self._bound: list[tuple[str, dict[str, Array], dict[str, Array]]] = []
        self.runs: list[str] = []
        """Names of the graphs, in the order they were run."""
        self.suffixes: list[int] = []
        """Slots of a suffix in the decoder's passes, where they changed."""

    def bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int:
        for view in (*inputs, *outputs):
            assert view.array.shape == tuple(view.shape)
        bound = graph, {view.name: view.array for view in inputs}, {view.name: view.array for view in outputs}
        self._bound.append(bound)
        return len(self._bound) - 1

    def run(self, handle: int) -> None:
        graph, inputs, outputs = self._bound[handle]
        self.runs.append(graph)
        if graph == "llm_decoder":
            self._run_decoder(inputs, outputs)
            return
        head = {"lm_head": self._model.head, "answer_head": self._model.head[self._answer_head]}[graph]
        assert set(inputs) == {"hidden"} and set(outputs) == {"logits"}
        assert outputs["logits"].dtype == np.float32
        outputs["logits"][...] = inputs["hidden"].astype(np.float32) @ head.T

    def release(self) -> None:
        self._bound.clear()

    def _run_decoder(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
        sizes = self._model.sizes
        embeddings = inputs["embeddings"]
        rows, width, hidden = embeddings.shape
        activations = embeddings.dtype
        prefix, suffix = inputs["prefix_key.0"].shape[2], inputs["suffix_key.0"].shape[2]
        expected: dict[str, tuple[tuple[int, ...], Any]] = {
            "embeddings": ((rows, width, sizes.hidden), activations),
            "cos": ((rows, width, sizes.head_dim), np.float32),
            "sin": ((rows, width, sizes.head_dim), np.float32),
            "bias": ((rows, width, prefix + suffix + width), np.float32),
            "logit_positions": ((rows, inputs["logit_positions"].shape[1]), np.int64),
        }
        # Only the pass that writes the prefix has an image.
        features = width if prefix == 0 else 1
        for i in range(sizes.deepstack):
            expected[f"deepstack.{i}"] = (1, features, sizes.hidden), activations
            assert prefix == 0 or not inputs[f"deepstack.{i}"].any()
        given: dict[str, tuple[tuple[int, ...], Any]] = {
            "hidden": ((*inputs["logit_positions"].shape, hidden), activations)
        }
        for i in range(sizes.layers):
            for kind in ("key", "value"):
                shapes = (
                    (sizes.kv_heads, 1, prefix, sizes.head_dim),
                    (
                        sizes.kv_heads,
                        rows,
                        suffix,
                        sizes.head_dim,
                    ),
                )
                expected[f"prefix_{kind}.{i}"] = shapes[0], activations
                expected[f"suffix_{kind}.{i}"] = shapes[1], activations
                given[f"{kind}.{i}"] = (sizes.kv_heads, rows, width, sizes.head_dim), activations
        if self.suffixes[-1:] != [suffix]:
            self.suffixes.append(suffix)
        assert {name: (a.shape, a.dtype) for name, a in inputs.items()} == expected
        assert {name: (a.shape, a.dtype) for name, a in outputs.items()} == given
        assert np.isin(inputs["bias"], (0, -30000)).all()

        x = embeddings.astype(np.float32)
        for i, layer in enumerate(self._model.layers):
            caches = tuple(
                inputs[f"{part}_{kind}.{i}"] for kind in ("key", "value") for part in ("prefix", "suffix")
            )
            key, value, attended = self._attend(layer, rms_norm(x, layer.norm), inputs, caches)
            outputs[f"key.{i}"][...] = key
            outputs[f"value.{i}"][...] = value
            x = x + attended
            normed = rms_norm(x, layer.mlp_norm)
            x = x + (silu(normed @ layer.gate) * (normed @ layer.up)) @ layer.down
            if i < sizes.deepstack:
                x = x + inputs[f"deepstack.{i}"].astype(np.float32)
        wanted = np.take_along_axis(x, inputs["logit_positions"][:, :, None], axis=1)
        outputs["hidden"][...] = rms_norm(wanted, self._model.norm)

    def _attend(
        self, layer: Layer, x: Array, inputs: dict[str, Array], caches: tuple[Array, ...]
    ) -> tuple[Array, Array, Array]:
        """New keys, new values and what attention adds; scores of the three segments meet in one softmax."""
        sizes = self._model.sizes
        rows, width, _ = x.shape
        groups = sizes.heads // sizes.kv_heads
        cos, sin = inputs["cos"][:, :, None], inputs["sin"][:, :, None]

        def heads(weight: Array) -> Array:
            return (x @ weight).reshape(rows, width, -1, sizes.head_dim)

        query = rotate(heads(layer.query), cos, sin) / np.sqrt(np.float32(sizes.head_dim))
        query = query.reshape(rows, width, sizes.kv_heads, groups, sizes.head_dim)
        key = rotate(heads(layer.key), cos, sin).transpose(2, 0, 1, 3)
        value = heads(layer.value).transpose(2, 0, 1, 3)
        prefix_key, suffix_key, prefix_value, suffix_value = (c.astype(np.float32) for c in caches)
        # k: kv head, n: row, t: query, g: group, s: key, d: element
        scores = np.concatenate(
            [
                np.einsum("ntkgd,ksd->nkgts", query, prefix_key[:, 0]),
                np.einsum("ntkgd,knsd->nkgts", query, suffix_key),
                np.einsum("ntkgd,knsd->nkgts", query, key),
            ],
            axis=-1,
        )
        weights = softmax(scores + inputs["bias"][:, None, None])
        ends = np.cumsum([prefix_key.shape[2], suffix_key.shape[2]])
        to_prefix, to_suffix, to_new = np.split(weights, ends, axis=-1)
        mixed = (
            np.einsum("nkgts,ksd->ntkgd", to_prefix, prefix_value[:, 0])
            + np.einsum("nkgts,knsd->ntkgd", to_suffix, suffix_value)
            + np.einsum("nkgts,knsd->ntkgd", to_new, value)
        )
        return key, value, mixed.reshape(rows, width, -1) @ layer.output
