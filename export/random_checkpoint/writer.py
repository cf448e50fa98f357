# SPDX-License-Identifier: Apache-2.0
"""Writes checkpoints of random weights in the published layouts.

What a layout consists of does not belong here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from edgepose.errors import InvalidInputError
from edgepose.export.random_checkpoint.dinov2_llama import DinoLlamaLayout
from edgepose.export.random_checkpoint.dinov2_llama_size import SIZES, RandomSize
from edgepose.export.random_checkpoint.layout import Layout
from edgepose.export.random_checkpoint.qwen3_vl import Qwen3VlLayout
from edgepose.export.random_checkpoint.qwen3_vl_size import QWEN3_VL_SIZES, RandomQwen3VlSize
from edgepose.export.random_checkpoint.shards import DTYPES, remove_shards, write_shards

__all__ = ["SIZES_OF", "AnySize", "write_random_checkpoint"]

AnySize: TypeAlias = RandomSize | RandomQwen3VlSize

SIZES_OF: Mapping[str, Mapping[str, AnySize]] = MappingProxyType(
    {"locllm": SIZES, "posellm": SIZES, "taihri": QWEN3_VL_SIZES}
)
"""Named sizes by family."""


def write_random_checkpoint(
    out: str | os.PathLike[str],
    *,
    family: str = "locllm",
    size: AnySize | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    file_format: Literal["bin", "safetensors"] | None = None,
    dtype: str | None = None,
    adapters: bool | None = None,
    legacy: bool | None = None,
    shard_bytes: int = 2 << 30,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes a checkpoint of random weights.

    The answers of such a model are meaningless but not degenerate: they depend on the image and on the
    question, and the tokens of coordinates are favoured so strongly that many answers parse. The same seed
    gives the same weights whatever the format, the type and the sharding (up to rounding to the type).

    Args:
        out: Directory to create, or to write anew: weights that an earlier run left in it are removed.
        family: `locllm` has a linear connector, `posellm` two layers, `taihri` is a Qwen3-VL model.
        size: Sizes, for instance `SIZES["small"]` or `QWEN3_VL_SIZES["small"]`; default: the family's small
            ones.
        tokenizer: SentencePiece model to copy; default: a tiny tokenizer of the family's kind is trained.
            `locllm` and `posellm` only, as `adapters` and `legacy`.
        file_format: Shards as `torch.save` files (`bin`) or as safetensors; default: as published.
        dtype: Type of all tensors: `float16`, `bfloat16` or `float32`; default: as published.
        adapters: Whether to write low-rank adapters for query and value projections; default: yes.
        legacy: Value of `legacy` in `tokenizer_config.json`; default: false.
        shard_bytes: Largest shard. In memory is one tensor at a time, one shard where they are `bin` files.
        seed: Seed of all weights.
        progress: Called after each tensor with the bytes done and the bytes in all.

    Returns:
        The directory.

    Raises:
        InvalidInputError: The sizes contradict each other, the tokenizer or the family, or the tokenizer
            lacks a piece that coordinates need.
    """
    sizes = SIZES_OF.get(family)
    chosen = size if size is not None or sizes is None else sizes["small"]
    layout: Layout
    if sizes is SIZES and isinstance(chosen, RandomSize):
        layout = DinoLlamaLayout(
            family,
            chosen,
            seed=seed,
            tokenizer=tokenizer,
            adapters=adapters is not False,
            legacy=legacy is True,
        )
    elif sizes is QWEN3_VL_SIZES and isinstance(chosen, RandomQwen3VlSize):
        given = {"tokenizer": tokenizer, "adapters": adapters, "legacy": legacy}
        unused = [f"{name} {value!r}" for name, value in given.items() if value is not None]
        if unused:
            raise InvalidInputError(
                f"[random checkpoint] expected none of {', '.join(given)} for {family}; got "
                f"{', '.join(unused)}; leave them out"
            )
        layout = Qwen3VlLayout(chosen, seed=seed)
    else:
        raise InvalidInputError(
            f"[random checkpoint] expected a family out of {', '.join(SIZES_OF)} with a size of its own "
            f"kind; got {family!r} with {chosen!r}; take a size out of SIZES_OF[family]"
        )
    kind = DTYPES.get(dtype or layout.dtype)
    if kind is None:
        raise InvalidInputError(
            f"[random checkpoint] expected a dtype out of {', '.join(DTYPES)}; got {dtype!r}; name one of "
            "them"
        )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    remove_shards(folder)
    layout.write_files(folder, dtype or layout.dtype)
    write_shards(
        folder,
        layout.shapes(),
        layout.make,
        file_format=file_format or layout.file_format,
        dtype=kind,
        shard_bytes=shard_bytes,
        progress=progress,
    )
    return folder
