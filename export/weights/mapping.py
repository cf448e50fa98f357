# SPDX-License-Identifier: Apache-2.0
"""The lazy mapping from canonical names to tensors.

What the names mean in a file is planned elsewhere, by architecture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, Protocol

import torch
from torch import Tensor

from edgepose.export.checkpoint import Checkpoint, TensorSource
from edgepose.export.models.config import ConnectorSizes, ModelConfig, VisionSizes
from edgepose.export.weights.plan import Plan, Shape

__all__ = ["ModelWeights", "Planner", "derive_config"]


class Planner(Protocol[VisionSizes, ConnectorSizes]):
    """What the weights need of an architecture."""

    def plan(self, checkpoint: Checkpoint) -> Plan[VisionSizes, ConnectorSizes]:
        """Sizes of a checkpoint and the place of every canonical tensor."""


class ModelWeights(Mapping[str, Tensor], Generic[VisionSizes, ConnectorSizes]):
    """Lazy mapping from canonical names to tensors of a checkpoint.

    Nothing is kept: every access reads the file again, merges adapters in float32 and returns a fresh
    tensor, so the memory in use is one tensor. The canonical names are those of the modules in
    `edgepose.export.models`, under `vision.`, `connector.`, `decoder.` and `lm_head.`.
    """

    config: ModelConfig[VisionSizes, ConnectorSizes]
    """Sizes of all parts."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        architecture: Planner[VisionSizes, ConnectorSizes],
        *,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        """Checks all names and shapes; reads no tensor data.

        Args:
            checkpoint: An opened checkpoint.
            architecture: What its tensors are called, `edgepose.export.architectures`.
            dtype: Type of the returned tensors; None returns what the file holds, float32 where something was
                computed.

        Raises:
            InvalidInputError: Fields of the configuration, or tensors, are missing, unexpected or of a wrong
                shape; one message lists all of them.
        """
        self._tensors: TensorSource = checkpoint.tensors
        self._dtype = dtype
        plan = architecture.plan(checkpoint)
        self.config = plan.config
        self._entries = plan.entries

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        tensor = self._tensors.load(entry.key)
        if entry.adapters:
            tensor = tensor.to(torch.float32)
            for adapter in entry.adapters:
                up = self._tensors.load(adapter.up).to(torch.float32)
                down = self._tensors.load(adapter.down).to(torch.float32)
                tensor[adapter.row : adapter.row + up.shape[0]].addmm_(up, down, alpha=adapter.scale)
        if entry.convert is not None:
            tensor = entry.convert(tensor)
        return tensor if self._dtype is None else tensor.to(self._dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def shape(self, name: str) -> Shape:
        """Shape of the tensor that `[name]` returns, without reading it."""
        return self._entries[name].shape

    def source_dtype(self, name: str) -> torch.dtype:
        """Type in which the file holds the tensor, before merging."""
        return self._tensors.dtype(self._entries[name].key)

    @property
    def merged(self) -> tuple[str, ...]:
        """Canonical names of the matrices that low-rank adapters are merged into."""
        return tuple(name for name, entry in self._entries.items() if entry.adapters)


def derive_config(
    checkpoint: Checkpoint, architecture: Planner[VisionSizes, ConnectorSizes]
) -> ModelConfig[VisionSizes, ConnectorSizes]:
    """Sizes of all parts of a checkpoint, from `config.json` and the shapes of its tensors.

    Raises:
        InvalidInputError: As for `ModelWeights`.
    """
    return architecture.plan(checkpoint).config
