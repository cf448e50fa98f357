# SPDX-License-Identifier: Apache-2.0
"""PyTorch's way through bundles' graphs, by which a GPU is checked: here on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgepose.bundle import ANSWER_HEAD, CONNECTOR, LM_HEAD, VISION_ENCODER, Bundle
from edgepose.verify.goldens import read_goldens

from ..test_device_decoder import (
    MODES,
    taihri_bundle,
    test_a_clip_is_tracked_in_groups_as_on_the_host,
    test_a_person_is_located_as_on_the_host,
    test_joints_in_metres_are_located_as_on_the_host,
)
from .torch_backends import TorchDecoderBackend
from .torch_graphs import TorchGraph

__all__ = [
    "MODES",
    "taihri_bundle",
    "test_a_clip_is_tracked_in_groups_as_on_the_host",
    "test_a_person_is_located_as_on_the_host",
    "test_joints_in_metres_are_located_as_on_the_host",
]
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def backend_type() -> type[TorchDecoderBackend]:
    """The decoder's graphs by PyTorch."""
    return TorchDecoderBackend


@pytest.mark.parametrize("graph", [VISION_ENCODER, CONNECTOR, ANSWER_HEAD, LM_HEAD])
@pytest.mark.parametrize("name", [str(DATA / "bundle_v1"), str(DATA / "bundle_v2"), "taihri-nano"])
def test_a_graph_answers_as_was_stored(name: str, graph: str) -> None:
    bundle = Bundle.open(name)
    torch_graph = TorchGraph(bundle.graph(graph), "cpu")
    cases = read_goldens(bundle)[graph]
    for case in cases:
        inputs = {key: torch.from_numpy(np.array(value)) for key, value in case.inputs.items()}
        results = torch_graph.run(inputs)
        for key, expected in case.outputs.items():
            np.testing.assert_allclose(results[key].numpy(), expected, atol=case.tolerance)
    assert any(case.outputs for case in cases)
