# SPDX-License-Identifier: Apache-2.0
"""All tensors of a checkpoint as one mapping, read from one shard at a time within bounded memory.

How a shard is read does not belong here; what the tensors mean is decided in `edgepose.export.weights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint.messages import some
from edgepose.export.checkpoint.shard_files import Shard, TensorInfo

__all__ = ["TensorSource"]

_RELEASE_BYTES = 1 << 28
"""A shard is closed after so many bytes were read from it, so that its mapped pages leave the memory."""


class TensorSource:
    """All tensors of a checkpoint by their published names; data is read when asked for, tensor by tensor.

    One shard is open at a time and is closed again after a quarter of a gigabyte, so the resident memory
    stays at the tensors the caller holds, however large the checkpoint is. For one thread at a time.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shard_of: dict[str, Shard] = {}
        self._info: dict[str, TensorInfo] = {}
        self._active: Shard | None = None
        self._read_bytes = 0
        twice = []
        for shard in shards:
            for name, info in shard.inspect().items():
                if name in self._info:
                    twice.append(f"{name} (in {self._shard_of[name].path.name} and {shard.path.name})")
                self._info[name] = info
                self._shard_of[name] = shard
            shard.close()
        if twice:
            raise InvalidInputError(
                f"[checkpoint] expected every tensor in one shard of {shards[0].path.parent}; got twice: "
                f"{some(twice)}; remove the shards that belong to another save"
            )

    def keys(self) -> list[str]:
        """Published names, in the order of the files."""
        return list(self._info)

    def __contains__(self, name: object) -> bool:
        return name in self._info

    def __len__(self) -> int:
        return len(self._info)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return self._info[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor, without reading it."""
        return self._info[name].dtype

    def shard(self, name: str) -> Path:
        """File that holds a tensor."""
        return self._shard_of[name].path

    def load(self, name: str) -> Tensor:
        """Reads one tensor.

        Args:
            name: Published name, one of `keys()`.

        Returns:
            A contiguous copy in the stored type; the caller's own.
        """
        shard = self._shard_of[name]
        if self._active is not None and (self._active is not shard or self._read_bytes > _RELEASE_BYTES):
            self.close()
        self._active = shard
        tensor = shard.read(name)
        self._read_bytes += tensor.numel() * tensor.element_size()
        return tensor

    def close(self) -> None:
        """Closes the open shard; the next `load` opens it again."""
        if self._active is not None:
            self._active.close()
        self._active = None
        self._read_bytes = 0
