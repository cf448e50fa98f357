# SPDX-License-Identifier: Apache-2.0
"""Writes tensors into files of `torch.save` or of safetensors, in shards, with their index.

What the tensors are does not belong here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from edgepose.export.random_checkpoint.layout import write_json

__all__ = ["DTYPES", "remove_shards", "write_shards"]

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
)
"""Types by the name that configurations use."""

_SAFETENSORS_TYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}

_Shape = tuple[int, ...]
_Make = Callable[[str, _Shape], Tensor]


def remove_shards(folder: Path) -> None:
    """Removes what an earlier run left."""
    for pattern in ("pytorch_model*.bin*", "model*.safetensors*"):
        for stale in folder.glob(pattern):
            stale.unlink()


def write_shards(
    folder: Path,
    shapes: Mapping[str, _Shape],
    make: _Make,
    *,
    file_format: Literal["bin", "safetensors"],
    dtype: torch.dtype,
    shard_bytes: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes all tensors.

    Args:
        folder: Where to.
        shapes: Names and shapes, in the order of writing.
        make: Makes one tensor.
        file_format: `safetensors` holds one tensor in memory at a time, `bin` one shard.
        dtype: Type of all tensors.
        shard_bytes: Largest shard, unless one tensor is larger.
        progress: Called after each tensor with the bytes done and the bytes in all.
    """
    shards = _shard(shapes, dtype.itemsize, shard_bytes)
    total = sum(map(math.prod, shapes.values())) * dtype.itemsize
    stem, suffix = ("pytorch_model", ".bin") if file_format == "bin" else ("model", ".safetensors")
    write = _write_bin if file_format == "bin" else _write_safetensors
    weight_map: dict[str, str] = {}
    done = 0

    def made(name: str) -> Tensor:
        nonlocal done
        tensor = make(name, shapes[name]).to(dtype)
        done += tensor.nbytes
        if progress:
            progress(done, total)
        return tensor

    for number, names in enumerate(shards, start=1):
        file = f"{stem}-{number:05d}-of-{len(shards):05d}{suffix}" if len(shards) > 1 else f"{stem}{suffix}"
        weight_map |= dict.fromkeys(names, file)
        write(folder / file, {name: shapes[name] for name in names}, dtype, made)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / f"{stem}{suffix}.index.json", index)


def _shard(shapes: Mapping[str, _Shape], itemsize: int, limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * itemsize
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _write_bin(
    path: Path, shapes: Mapping[str, _Shape], dtype: torch.dtype, made: Callable[[str], Tensor]
) -> None:
    torch.save({name: made(name) for name in shapes}, path)


def _write_safetensors(
    path: Path, shapes: Mapping[str, _Shape], dtype: torch.dtype, made: Callable[[str], Tensor]
) -> None:
    """The format is a length, a JSON header and the bytes of the tensors; the library wants all at once."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        end = start + math.prod(shape) * dtype.itemsize
        offsets: Sequence[int] = (start, end)
        header[name] = {"dtype": _SAFETENSORS_TYPES[dtype], "shape": shape, "data_offsets": offsets}
        start = end
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)
    with path.open("wb") as file:
        file.write(len(written).to_bytes(8, "little") + written)
        for name in shapes:
            made(name).contiguous().flatten().view(torch.uint8).numpy().tofile(file)
