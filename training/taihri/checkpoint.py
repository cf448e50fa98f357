# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of compact TAIHRIs in the published layout: made anew, opened for training, saved.

What the first weights are is in `initial`; reading checkpoints for export is in `edgepose.export`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import torch
from torch import Tensor

from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.families.questions import ChatQuestions
from edgepose.export.families.taihri import TAIHRI
from edgepose.export.random_checkpoint import RandomQwen3VlSize, train_byte_level_tokenizer
from edgepose.export.random_checkpoint.layout import write_json
from edgepose.export.random_checkpoint.qwen3_vl import Qwen3VlLayout
from edgepose.export.random_checkpoint.qwen3_vl_settings import write_settings
from edgepose.export.random_checkpoint.shards import DTYPES, remove_shards, write_shards
from edgepose.export.weights import ModelWeights
from edgepose.training.taihri.commands import corpus
from edgepose.training.taihri.initial import initialise
from edgepose.training.taihri.language import Language
from edgepose.training.taihri.model import TaihriModel

__all__ = ["create_checkpoint", "open_model", "save_checkpoint"]

_PICTURES = 2
"""Times the published convolution sees a still frame."""

_SHARD_BYTES = 1 << 40


def create_checkpoint(
    folder: Path, size: RandomQwen3VlSize, *, canonical_focal: float, seed: int = 0, dtype: str = "float16"
) -> Path:
    """Writes a checkpoint that has learnt nothing, with a tokenizer for the commands.

    Args:
        folder: Directory to create, or to write anew.
        size: Sizes of all parts.
        canonical_focal: Focal length to which frames are scaled, pixels.
        seed: Of the first weights.
        dtype: Type of all tensors.

    Returns:
        The directory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_shards(folder)
    assert isinstance(TAIHRI.questions, ChatQuestions)
    wording = TAIHRI.questions.wording
    tokenizer = train_byte_level_tokenizer(
        folder / "tokenizer.json", merges=size.merges, sentences=corpus(wording.asked)
    )
    vocabulary = size.vocabulary or tokenizer.get_vocab_size()
    write_settings(folder, size, tokenizer, vocabulary, dtype)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**config, "edgepose": {"canonical_focal": canonical_focal}})
    shapes = Qwen3VlLayout(dataclasses.replace(size, vocabulary=vocabulary)).shapes()
    _write(folder, {name: torch.zeros(shape) for name, shape in shapes.items()}, dtype)
    model, language = open_model(folder)
    initialise(model, language, seed)
    return save_checkpoint(model, folder, files=folder, dtype=dtype)


def open_model(folder: Path) -> tuple[TaihriModel, Language]:
    """A checkpoint's model in float32, ready for training, and its language.

    Raises:
        InvalidInputError: The files are not those of a TAIHRI.
    """
    checkpoint = open_checkpoint(folder)
    language = Language(checkpoint)
    weights = ModelWeights(checkpoint, TAIHRI.architecture)
    model = TaihriModel(weights.config, language.view)
    model.load_state_dict({name: weights[name].float() for name in model.state_dict()})
    return model.train(), language


def save_checkpoint(model: TaihriModel, folder: Path, *, files: Path, dtype: str = "float16") -> Path:
    """Writes a model in the published layout.

    Args:
        model: What to save.
        folder: Directory to create, or to write anew.
        files: Checkpoint to take the configuration and the tokenizer from; may be the same directory.
        dtype: Type of all tensors.

    Returns:
        The directory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if files.resolve() != folder.resolve():
        for file in files.iterdir():
            if file.suffix in (".json", ".jinja"):
                shutil.copyfile(file, folder / file.name)
    _write(folder, _published(model), dtype)
    return folder


def _write(folder: Path, tensors: dict[str, Tensor], dtype: str) -> None:
    write_shards(
        folder,
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        lambda name, shape: tensors[name],
        file_format="safetensors",
        dtype=DTYPES[dtype],
        shard_bytes=_SHARD_BYTES,
    )


def _published(model: TaihriModel) -> dict[str, Tensor]:
    """Published name to tensor, on the CPU."""
    found = {}
    for name, tensor in model.state_dict().items():
        part, rest = name.split(".", 1)
        tensor = tensor.detach().cpu()
        if part == "decoder":
            found[f"model.language_model.{rest}"] = tensor
        elif rest == "patch_embed.weight":
            side = model.config.vision.patch_size
            picture = tensor.view(-1, 3, 1, side, side) / _PICTURES
            found["model.visual.patch_embed.proj.weight"] = picture.repeat(1, 1, _PICTURES, 1, 1)
        elif part == "lm_head":
            found[name] = tensor
        else:
            for ours, theirs in (
                ("patch_embed.", "patch_embed.proj."),
                ("deepstack.", "deepstack_merger_list."),
                (".fc", ".linear_fc"),
            ):
                rest = rest.replace(ours, theirs)
            found[f"model.visual.{rest}"] = tensor
    return found
