# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the export tests: changed copies of checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from torch import Tensor

State = dict[str, Tensor]
Rewrite = Callable[..., Path]


@pytest.fixture
def rewrite(tmp_path: Path, locllm_checkpoint: Path) -> Rewrite:
    """Copies a checkpoint into one safetensors file, after a function has changed tensors and config."""
    from safetensors.torch import save_file

    from edgepose.export.checkpoint import open_checkpoint

    def make(
        change: Callable[[State, dict[str, Any]], object],
        source: Path = locllm_checkpoint,
        name: str = "changed",
    ) -> Path:
        checkpoint = open_checkpoint(source)
        state = {key: checkpoint.tensors.load(key) for key in checkpoint.tensors.keys()}  # noqa: SIM118
        config = dict(checkpoint.config)
        change(state, config)
        folder = tmp_path / name
        folder.mkdir()
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        for file in ("tokenizer.model", "tokenizer_config.json", "added_tokens.json"):
            shutil.copyfile(source / file, folder / file)
        return folder

    return make
