# SPDX-License-Identifier: Apache-2.0
"""The connector against its formula."""

from __future__ import annotations

import math

import torch

from edgepose.export.models.connector import Connector, ConnectorConfig


def test_one_layer_is_linear() -> None:
    connector = Connector(ConnectorConfig((3, 5)))
    x = torch.randn(2, 4, 3)
    weight, bias = connector.state_dict()["0.weight"], connector.state_dict()["0.bias"]
    torch.testing.assert_close(connector(x), x @ weight.T + bias)
    assert connector.config.layers == 1


def test_two_layers_have_the_exact_gelu_between() -> None:
    connector = Connector(ConnectorConfig((3, 6, 5))).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64) * 3
    state = connector.state_dict()
    inner = x @ state["0.weight"].T + state["0.bias"]
    gelu = inner * 0.5 * (1.0 + torch.erf(inner / math.sqrt(2.0)))
    torch.testing.assert_close(connector(x), gelu @ state["1.weight"].T + state["1.bias"])
    assert set(state) == {"0.weight", "0.bias", "1.weight", "1.bias"}
