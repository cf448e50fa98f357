# SPDX-License-Identifier: Apache-2.0
"""Connector between vision encoder and language model: linear layers with the exact GELU between them.

What layers a checkpoint's connector has is decided in `edgepose.export.weights`, not here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Connector", "ConnectorConfig"]


@dataclass(frozen=True, slots=True)
class ConnectorConfig:
    """Widths along the connector: `(1024, 4096)` is one linear layer, `(1024, 4096, 4096)` an MLP of two."""

    dims: tuple[int, ...]

    @property
    def layers(self) -> int:
        """Number of linear layers."""
        return len(self.dims) - 1


class Connector(nn.ModuleList):
    """Patch features to embeddings of the language model; linear layer `j` is child `j`.

    Source: LocLLM (one layer), PoseLLM (two layers, `W2 gelu(W1 x + b1) + b2`).
    """

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__(nn.Linear(i, o) for i, o in zip(config.dims[:-1], config.dims[1:], strict=True))
        self.config = config

    def forward(self, features: Tensor) -> Tensor:
        """Maps features.

        Args:
            features: (B, patches, dims[0]).

        Returns:
            (B, patches, dims[-1]).
        """
        for index, layer in enumerate(self):
            features = layer(features if index == 0 else functional.gelu(features))
        return features
