# SPDX-License-Identifier: Apache-2.0
"""Random checkpoints of LocLLM and PoseLLM: DINOv2, a projector of linear layers, Llama.

Nothing here is learned, and reading checkpoints does not belong here.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.random_checkpoint.layout import random_normal, write_json
from edgepose.export.random_checkpoint.sentencepiece_vocabulary import (
    train_tokenizer,
    write_tokenizer_settings,
)
from edgepose.export.tokenizer import parse_sentencepiece

__all__ = ["SIZES", "DinoLlamaLayout", "RandomSize"]

_ANSWER_PIECES = ("▁[", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", ".", ",", "]")
_FOLLOWERS = ((":", "▁["), ("▁[", "0"), (",", "0"), ("0", "."), *((".", digit) for digit in "123456789"))


@dataclass(frozen=True, slots=True)
class RandomSize:
    """Sizes of a checkpoint to write; patches of 14 pixels and a 37 x 37 position table are as published."""

    vision_hidden: int = 128
    """A multiple of 64."""
    vision_layers: int = 2
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 4
    intermediate: int = 256
    connector_hidden: int = 192
    """Width between the two layers of a PoseLLM connector."""
    crop_size: int = 224
    vocabulary: int | None = None
    """Rows of embedding table and head, which the tokenizer must have or is filled up to; default: its
    own."""


SIZES: Mapping[str, RandomSize] = MappingProxyType(
    {
        "small": RandomSize(),
        "wide": RandomSize(
            vision_hidden=1024, hidden=2048, layers=4, heads=16, kv_heads=16, intermediate=5504
        ),
        "published": RandomSize(
            vision_hidden=1024,
            vision_layers=24,
            hidden=4096,
            layers=32,
            heads=32,
            kv_heads=32,
            intermediate=11008,
            connector_hidden=4096,
            vocabulary=32000,
        ),
    }
)


class DinoLlamaLayout:
    """The layout that LocLLM and PoseLLM share.

    Matrices have a standard deviation of about 1 / sqrt(fan-in), so activations keep their scale through any
    depth. Channel 0 of the residual stream is a constant: embeddings and connector put it there, no layer
    writes to it. Its column of the head is therefore a bias, which favours the tokens of coordinates. On top
    of that the head gives each token of `_FOLLOWERS` a share of its predecessor's embedding, so that many
    answers contain numbers.
    """

    file_format: Literal["bin", "safetensors"] = "bin"
    dtype = "float16"

    _CONSTANT = 2.0
    """Value of channel 0 of all embeddings."""
    _BIAS = 18.0
    """Head weight of channel 0 for the tokens of coordinates."""
    _FOLLOW = 170.0
    """Share of the predecessor's embedding in a head row, times the width."""
    _ATTENTION = 2.5
    _MLP = 2.0
    _VISION = 0.5
    """Standard deviation of matrices, times the square root of their fan-in. Sharp attention and weak mixing
    of patches make answers differ."""
    _TABLE = 2.0
    """Standard deviation of the position table of the encoder."""

    def __init__(
        self,
        family: str,
        size: RandomSize,
        *,
        seed: int = 0,
        tokenizer: str | os.PathLike[str] | None = None,
        adapters: bool = True,
        legacy: bool = False,
    ) -> None:
        self._family = family
        self._size = size
        self._seed = seed
        self._tokenizer = tokenizer
        self._adapters = adapters
        self._legacy = legacy
        self._pieces: dict[str, int] = {}

    def write_files(self, folder: Path, dtype: str) -> None:
        """Writes configurations and tokenizer.

        Raises:
            InvalidInputError: The sizes contradict each other or the tokenizer, or the tokenizer lacks a
                piece that coordinates need.
        """
        size = self._size
        if size.vision_hidden % 64 or size.hidden % size.heads or size.heads % size.kv_heads:
            raise InvalidInputError(
                "[random checkpoint] expected vision_hidden a multiple of 64, hidden of heads, heads of "
                f"kv_heads; got {size}; change these sizes"
            )
        self._pieces = _write_tokenizer(folder, self._tokenizer, size.vocabulary, self._legacy)
        missing = [piece for piece in _ANSWER_PIECES if piece not in self._pieces]
        if missing:
            raise InvalidInputError(
                f"[random checkpoint] expected the tokenizer to hold the pieces of coordinates; "
                f"{self._tokenizer} lacks {', '.join(missing)}; use a tokenizer of the Llama 2 family"
            )
        config = _config(self._family, size, len(self._pieces), dtype, self._adapters)
        write_json(folder / "config.json", config)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Published names and shapes, in the order of the published modules."""
        return _shapes(self._family, self._size, len(self._pieces), self._adapters)

    def make(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One published tensor, float32."""
        if name.endswith("rotary_emb.inv_freq"):
            return 1.0 / 10000.0 ** (torch.arange(shape[0], dtype=torch.float32) / shape[0])
        tensor = random_normal(self._seed, name, shape)
        if name == "model.embed_tokens.weight":
            tensor[:, 0] = self._CONSTANT
        elif name == "lm_head.weight":
            tensor = self._head(tensor)
        elif "norm" in name or name.endswith("gamma"):
            tensor = tensor * 0.1 if name.endswith("bias") else 1.0 + 0.1 * tensor
        elif name.endswith("bias") or "lora_B" in name:
            tensor *= 0.05
        elif name.startswith("vision_model.") and name.endswith(("cls_token", "pos_embed", "mask_token")):
            tensor *= self._TABLE
        else:
            gain = self._ATTENTION if "self_attn" in name else self._VISION if "vision" in name else self._MLP
            tensor *= gain / math.sqrt(math.prod(shape[1:]))
        if name == "vision_model.patch_embed.proj.weight":
            tensor -= tensor.mean(dim=(2, 3), keepdim=True)
        if name.endswith(("o_proj.weight", "down_proj.weight")) or self._is_last_connector(name):
            tensor[0] = self._CONSTANT if name.endswith("bias") else 0.0
        return tensor

    def _head(self, tensor: Tensor) -> Tensor:
        tensor *= 3.0 / math.sqrt(tensor.shape[1])
        tensor[:, 0] = 0.0
        embedding = self.make("model.embed_tokens.weight", (len(self._pieces), tensor.shape[1]))
        embedding[:, 0] = 0.0
        for before, after in _FOLLOWERS:
            if before in self._pieces:
                share = self._FOLLOW / tensor.shape[1]
                tensor[self._pieces[after]] += share * embedding[self._pieces[before]]
        for piece in _ANSWER_PIECES:
            tensor[self._pieces[piece], 0] = self._BIAS
        return tensor

    def _is_last_connector(self, name: str) -> bool:
        return name in (
            "mm_projector.weight",
            "mm_projector.bias",
            "mm_projector.2.weight",
            "mm_projector.2.bias",
        )


def _write_tokenizer(
    folder: Path, tokenizer: str | os.PathLike[str] | None, vocabulary: int | None, legacy: bool
) -> dict[str, int]:
    """Writes the tokenizer files; returns piece to id."""
    model_path = folder / "tokenizer.model"
    if tokenizer is None:
        train_tokenizer(model_path, vocabulary=vocabulary)
    else:
        try:
            shutil.copyfile(tokenizer, model_path)
        except OSError as error:
            raise InvalidInputError(
                f"[random checkpoint] expected a readable SentencePiece model; got {tokenizer} ({error}); "
                "name an existing tokenizer.model, or none to have a tiny one trained"
            ) from error
    model = parse_sentencepiece(model_path.read_bytes(), model_path)
    pieces = {piece.piece: number for number, piece in enumerate(model.pieces)}
    if vocabulary is not None and vocabulary != len(pieces):
        raise InvalidInputError(
            f"[random checkpoint] expected a tokenizer of {vocabulary} pieces; {tokenizer} has "
            f"{len(pieces)}; leave the vocabulary to the tokenizer, or choose another tokenizer"
        )
    write_tokenizer_settings(folder, len(pieces), legacy=legacy)
    return pieces


def _config(family: str, size: RandomSize, vocabulary: int, dtype: str, adapters: bool) -> dict[str, Any]:
    return {
        "architectures": ["LocLLMModel" if family == "locllm" else "PoseLLMModel"],
        "model_type": family,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "max_position_embeddings": 4096,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "vocab_size": vocabulary,
        "llama_path": None,
        "dino_path": None,
        "lora_llm_enable": adapters,
        "lora_llm_r": 8,
        "lora_llm_alpha": 16,
        "lora_llm_dropout": 0.05,
        "lora_vision_enable": adapters,
        "lora_vision_r": 8,
        "lora_vision_alpha": 16,
        "lora_vision_dropout": 0.05,
        "crop_size": size.crop_size,
        "num_patches": (size.crop_size // 14) ** 2,
        "im_patch_token": vocabulary,
    }


def _shapes(family: str, size: RandomSize, vocabulary: int, adapters: bool) -> dict[str, tuple[int, ...]]:
    """Published names and shapes, in the order of the published modules."""
    hidden, rank = size.hidden, 8
    shared = hidden // size.heads * size.kv_heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for index in range(size.layers):
        layer = f"model.layers.{index}."
        for letter, rows in (("q", hidden), ("k", shared), ("v", shared), ("o", hidden)):
            shapes[f"{layer}self_attn.{letter}_proj.weight"] = (rows, hidden)
            if adapters and letter in "qv":
                shapes[f"{layer}self_attn.{letter}_proj.lora_A"] = (rank, hidden)
                shapes[f"{layer}self_attn.{letter}_proj.lora_B"] = (rows, rank)
        shapes[f"{layer}self_attn.rotary_emb.inv_freq"] = (hidden // size.heads // 2,)
        shapes[f"{layer}mlp.gate_proj.weight"] = (size.intermediate, hidden)
        shapes[f"{layer}mlp.up_proj.weight"] = (size.intermediate, hidden)
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, size.intermediate)
        shapes[f"{layer}input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}post_attention_layernorm.weight"] = (hidden,)
    shapes["model.norm.weight"] = (hidden,)
    shapes["lm_head.weight"] = (vocabulary, hidden)

    width = size.vision_hidden
    shapes["vision_model.cls_token"] = (1, 1, width)
    shapes["vision_model.pos_embed"] = (1, 1 + 37 * 37, width)
    shapes["vision_model.mask_token"] = (1, width)
    shapes["vision_model.patch_embed.proj.weight"] = (width, 3, 14, 14)
    shapes["vision_model.patch_embed.proj.bias"] = (width,)
    for index in range(size.vision_layers):
        block = f"vision_model.blocks.{index}."
        for norm in ("norm1", "norm2"):
            shapes[f"{block}{norm}.weight"] = shapes[f"{block}{norm}.bias"] = (width,)
        if adapters:
            for letter in "vq":
                shapes[f"{block}attn.lora_A_{letter}"] = (rank, width)
                shapes[f"{block}attn.lora_B_{letter}"] = (width, rank)
        for linear, rows, columns in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes[f"{block}{linear}.weight"] = (rows, columns)
            shapes[f"{block}{linear}.bias"] = (rows,)
        shapes[f"{block}ls1.gamma"] = shapes[f"{block}ls2.gamma"] = (width,)
    shapes["vision_model.norm.weight"] = shapes["vision_model.norm.bias"] = (width,)

    layers = [("", hidden, width)]
    if family == "posellm":
        layers = [("0.", size.connector_hidden, width), ("2.", hidden, size.connector_hidden)]
    for stem, rows, columns in layers:
        shapes[f"mm_projector.{stem}weight"] = (rows, columns)
        shapes[f"mm_projector.{stem}bias"] = (rows,)
    return shapes
