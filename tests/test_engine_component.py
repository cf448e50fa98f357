# SPDX-License-Identifier: Apache-2.0
"""What a sidecar says of one engine: the hash of its graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgepose.bundle import Bundle
from edgepose.engine_component import graph_hash


def test_graph_hash_covers_external_weights(make_bundle: Callable[..., Path]) -> None:
    files = dict(Bundle.open(make_bundle()).manifest.files)
    whole, head = graph_hash(files, "llm_decoder"), graph_hash(files, "lm_head")
    del files["llm_decoder.onnx.data"]
    assert graph_hash(files, "llm_decoder") != whole
    assert graph_hash(files, "lm_head") == head
