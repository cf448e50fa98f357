# SPDX-License-Identifier: Apache-2.0
"""Emits `lm_head` and `answer_head`: hidden states to the logits of the whole vocabulary, or of an answer's
tokens.

Which tokens an answer may hold is decided by the codec, not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from edgepose.bundle import PrecisionSpec
from edgepose.export.graphs.builder import GraphBuilder

__all__ = ["write_head"]


def write_head(
    path: Path, weight: Tensor, precision: PrecisionSpec, *, token_ids: Sequence[int] | None = None
) -> None:
    """Writes a head graph: `hidden` (M, hidden) activation type to `logits` (M, tokens) float32.

    Args:
        path: `.onnx` file to write; the weight goes to `PATH.data`.
        weight: (vocabulary, hidden).
        precision: Its activation type is that of input and weight.
        token_ids: Rows of `weight` that the columns of `logits` stand for, in this order; default: all.
    """
    rows = weight if token_ids is None else weight[list(token_ids)]
    layer = path.stem
    with GraphBuilder(path, precision, {f"{layer}.weight": rows}) as graph:
        hidden = graph.input("hidden", graph.dtype, ("M", weight.shape[1]))
        logits = graph.cast(graph.linear(hidden, layer), np.dtype(np.float32))
        graph.output("logits", logits, np.dtype(np.float32), ("M", len(rows)))
