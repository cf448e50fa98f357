# SPDX-License-Identifier: Apache-2.0
"""Finds the files that hold a checkpoint's tensors: one or several, with an index or numbered, all there.

What is inside a file does not belong here, but for the names that an index promises: see `shard_files`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint.json_object import read_json_object
from edgepose.export.checkpoint.messages import some
from edgepose.export.checkpoint.shard_files import PickleShard, SafetensorsShard, Shard

__all__ = ["find_shards"]


def find_shards(folder: Path) -> list[Shard]:
    """The shards of a checkpoint directory, none of them open.

    Raises:
        InvalidInputError: There are none, some are missing or cannot be read, or they contradict their index.
    """
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
        f"{some(present) if present else 'an empty directory'}; download the weights into that folder"
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
            f"{some(outside)}; do not use this checkpoint, or correct its index"
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
            f"{some(absent)}; download the shards and the index again, from the same revision"
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
            f"{some(shard.name for shard in shards)}; remove the shards that belong to another save"
        )
    missing = sorted(set(range(1, totals.pop() + 1)) - set(numbers))
    if missing:
        raise InvalidInputError(
            f"[checkpoint] expected all shards in {shards[0].parent}; missing: number "
            f"{', '.join(map(str, missing))} beside {shards[0].name}; download them"
        )
