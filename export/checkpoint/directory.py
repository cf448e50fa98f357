# SPDX-License-Identifier: Apache-2.0
"""Opens checkpoint directories as their authors publish them: configurations, and tensors that stay on disk.

How their files are found and read belongs to the modules beside this one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint.json_object import read_json_object
from edgepose.export.checkpoint.shard_layout import find_shards
from edgepose.export.checkpoint.tensor_source import TensorSource

__all__ = ["Checkpoint", "open_checkpoint"]


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
    return Checkpoint(folder, config, tokenizer_config, TensorSource(find_shards(folder)))
