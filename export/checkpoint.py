# SPDX-License-Identifier: Apache-2.0
"""Reads checkpoint directories as their authors publish them: configurations and tensors.

What the tensors mean (names, shapes, adapters) is decided in `edgepose.export.weights`, not here.
"""

from __future__ import annotations

import json
import os
import pickle
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgepose.errors import InvalidInputError

__all__ = ["Checkpoint", "TensorSource", "open_checkpoint", "read_json_object"]

_RELEASE_BYTES = 1 << 28
"""A shard is closed after so many bytes were read from it, so that its mapped pages leave the memory."""


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
                f"objects ({_first_line(error)}), which loading would have to execute; save it "
                "again as safetensors on a machine you trust it on"
            ) from error
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            raise InvalidInputError(
                f"[checkpoint] expected {self.path} to be a complete file of torch.save in the zip format; "
                f"got {_size(self.path)} bytes that do not read as one ({_first_line(error)}); download the "
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
                f"{_some(strange)}; give a checkpoint in the layout that save_pretrained writes"
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
                    f"{_size(self.path)} bytes that do not read as one ({_first_line(error)}); download the "
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
                f"{_some(twice)}; remove the shards that belong to another save"
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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint directory."""

    path: Path
    config: dict[str, Any]
    """`config.json`."""
    tokenizer_config: dict[str, Any]
    """`tokenizer_config.json`; empty where there is none."""
    tensors: TensorSource

    @property
    def config_path(self) -> Path:
        """`config.json`, for messages."""
        return self.path / "config.json"


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a checkpoint directory and reads all headers; tensor data stays on disk.

    Args:
        path: Directory with `config.json` and either `model*.safetensors` or `pytorch_model*.bin`, in one
            file or in shards, with an index or without. Safetensors are preferred where both are present.

    Returns:
        The checkpoint.

    Raises:
        InvalidInputError: The directory, a file or a shard is missing, truncated, unsafe or contradicts its
            index.

    Source: layout of `transformers`' `save_pretrained`, 4.31 (`.bin`) and later (safetensors).
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing at that path"
        raise InvalidInputError(
            f"[checkpoint] expected a directory; got {what}: {folder}; "
            "give the folder that holds config.json and the weights"
        )
    config = read_json_object(
        folder / "config.json", "give the folder that holds config.json and the weights"
    )
    tokenizer_config_path = folder / "tokenizer_config.json"
    tokenizer_config = (
        read_json_object(tokenizer_config_path, "download the file again")
        if tokenizer_config_path.exists()
        else {}
    )
    return Checkpoint(folder, config, tokenizer_config, TensorSource(_find_shards(folder)))


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON file whose top level is an object.

    Args:
        path: File to read.
        remedy: What the user can do, for the message.

    Raises:
        InvalidInputError: The file is missing, is no JSON or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"[checkpoint] expected the file {path.name}; got none in {path.parent}; {remedy}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"[checkpoint] expected {path} to be JSON; got {_first_line(error)}; download the file again"
        ) from error
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"[checkpoint] expected {path} to hold a JSON object; got {type(value).__name__}; {remedy}"
        )
    return value


def _find_shards(folder: Path) -> list[Shard]:
    for stem, suffix, kind in (
        ("model", ".safetensors", SafetensorsShard),
        ("pytorch_model", ".bin", PickleShard),
    ):
        index = folder / f"{stem}{suffix}.index.json"
        single = folder / f"{stem}{suffix}"
        if index.exists():
            return _indexed_shards(index, kind)
        if single.exists():
            return [kind(single)]
        numbered = sorted(folder.glob(f"{stem}-*-of-*{suffix}"))
        if numbered:
            _assert_complete(numbered)
            return [kind(shard) for shard in numbered]
    present = sorted(entry.name for entry in folder.iterdir())
    raise InvalidInputError(
        f"[checkpoint] expected model*.safetensors or pytorch_model*.bin in {folder}; got "
        f"{_some(present) if present else 'an empty directory'}; download the weights into that folder"
    )


def _indexed_shards(index: Path, kind: type[Shard]) -> list[Shard]:
    weight_map = read_json_object(index, "download the file again").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InvalidInputError(
            f"[checkpoint] expected {index} to hold an object weight_map from tensor names to file names; "
            f"got {type(weight_map).__name__}; download the file again"
        )
    names = sorted(set(weight_map.values()))
    outside = [name for name in names if Path(name).name != name or "\\" in name or name in ("", ".", "..")]
    if outside:
        raise InvalidInputError(
            f"[checkpoint] expected the file names in {index} to lie in its own folder; got "
            f"{_some(outside)}; do not use this checkpoint, or correct its index"
        )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise InvalidInputError(
            f"[checkpoint] expected the {len(names)} shards that {index.name} names in {index.parent}; "
            f"missing: {', '.join(missing)}; download them"
        )
    shards = [kind(index.parent / name) for name in names]
    absent = []
    for shard in shards:
        present = shard.inspect()
        shard.close()
        absent += [
            f"{t} ({file})" for t, file in weight_map.items() if file == shard.path.name and t not in present
        ]
    if absent:
        raise InvalidInputError(
            f"[checkpoint] expected the shards to hold the tensors that {index} names; not in their shard: "
            f"{_some(absent)}; download the shards and the index again, from the same revision"
        )
    return shards


def _assert_complete(shards: Sequence[Path]) -> None:
    """Shards without an index still say in their names how many there are."""
    numbers = {}
    totals = set()
    for shard in shards:
        match = re.search(r"-(\d+)-of-(\d+)\.", shard.name)
        if match:
            numbers[int(match[1])] = shard
            totals.add(int(match[2]))
    if len(totals) != 1:
        raise InvalidInputError(
            f"[checkpoint] expected the shards of one save in {shards[0].parent}; got "
            f"{_some(shard.name for shard in shards)}; remove the shards that belong to another save"
        )
    missing = sorted(set(range(1, totals.pop() + 1)) - set(numbers))
    if missing:
        raise InvalidInputError(
            f"[checkpoint] expected all shards in {shards[0].parent}; missing: number "
            f"{', '.join(map(str, missing))} beside {shards[0].name}; download them"
        )


def _some(names: Iterable[str], limit: int = 20) -> str:
    listed = list(names)
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _size(path: Path) -> str:
    try:
        return str(path.stat().st_size)
    except OSError:
        return "0"
