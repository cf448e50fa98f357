# SPDX-License-Identifier: Apache-2.0
"""Single files of tensors: those of `torch.save`, opened without executing anything, and safetensors.

Which files a checkpoint consists of is decided in `shard_layout`.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint.messages import first_line, some

__all__ = ["PickleShard", "SafetensorsShard", "Shard", "TensorInfo"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a shard's header says of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Shard(ABC):
    """One file of tensors; open between the first read and `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def inspect(self) -> dict[str, TensorInfo]:
        """Names, shapes and types, without reading tensor data."""

    @abstractmethod
    def read(self, name: str) -> Tensor:
        """One tensor, in memory of its own."""

    @abstractmethod
    def close(self) -> None:
        """Gives the mapped pages back."""


class PickleShard(Shard):
    """A `torch.save` file, memory-mapped and unpickled with the safe loader only."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._state: dict[str, Tensor] | None = None

    def _open(self) -> dict[str, Tensor]:
        if self._state is not None:
            return self._state
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            raise InvalidInputError(
                f"[checkpoint] expected {self.path} to hold nothing but tensors; its pickle asks for other "
                f"objects ({first_line(error)}), which loading would have to execute; save it "
                "again as safetensors on a machine you trust it on"
            ) from error
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            raise InvalidInputError(
                f"[checkpoint] expected {self.path} to be a complete file of torch.save in the zip format; "
                f"got {_size(self.path)} bytes that do not read as one ({first_line(error)}); download the "
                "file again, or save it again with a current PyTorch"
            ) from error
        if not isinstance(state, Mapping):
            raise InvalidInputError(
                f"[checkpoint] expected {self.path} to hold a dictionary of tensors; got "
                f"{type(state).__name__}; give a checkpoint in the layout that save_pretrained writes"
            )
        strange = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
        if strange:
            raise InvalidInputError(
                f"[checkpoint] expected {self.path} to hold a dictionary of tensors; got other values under "
                f"{some(strange)}; give a checkpoint in the layout that save_pretrained writes"
            )
        self._state = {str(name): value for name, value in state.items()}
        return self._state

    def inspect(self) -> dict[str, TensorInfo]:
        return {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in self._open().items()}

    def read(self, name: str) -> Tensor:
        return self._open()[name].detach().clone(memory_format=torch.contiguous_format)

    def close(self) -> None:
        self._state = None


_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class SafetensorsShard(Shard):
    """A safetensors file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file: Any = None

    def _open(self) -> Any:
        if self._file is None:
            try:
                self._file = safe_open(self.path, framework="pt", device="cpu")
            except (SafetensorError, OSError, ValueError) as error:
                raise InvalidInputError(
                    f"[checkpoint] expected {self.path} to be a complete safetensors file; got "
                    f"{_size(self.path)} bytes that do not read as one ({first_line(error)}); download the "
                    "file again"
                ) from error
        return self._file

    def inspect(self) -> dict[str, TensorInfo]:
        found = {}
        file = self._open()
        for name in file.keys():  # noqa: SIM118  (not a mapping)
            header = file.get_slice(name)
            dtype = _SAFETENSORS_DTYPES.get(header.get_dtype())
            if dtype is None:
                raise InvalidInputError(
                    f"[checkpoint] expected the tensors of {self.path} to be of type "
                    f"{', '.join(_SAFETENSORS_DTYPES)}; {name} is {header.get_dtype()}; "
                    "convert the checkpoint to float16, bfloat16 or float32"
                )
            found[name] = TensorInfo(tuple(header.get_shape()), dtype)
        return found

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._open().get_tensor(name)
        return tensor.clone()

    def close(self) -> None:
        self._file = None


def _size(path: Path) -> str:
    try:
        return str(path.stat().st_size)
    except OSError:
        return "0"
