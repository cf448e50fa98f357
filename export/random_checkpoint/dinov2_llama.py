# SPDX-License-Identifier: Apache-2.0
"""Random checkpoints of LocLLM and PoseLLM: DINOv2, a projector of linear layers, Llama.

Nothing here is learned, and reading checkpoints does not belong here.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.random_checkpoint.dinov2_llama_settings import write_config, write_tokenizer
from edgepose.export.random_checkpoint.dinov2_llama_size import RandomSize
from edgepose.export.random_checkpoint.layout import random_normal

__all__ = ["DinoLlamaLayout"]

_ANSWER_PIECES = ("▁[", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", ".", ",", "]")
_FOLLOWERS = ((":", "▁["), ("▁[", "0"), (",", "0"), ("0", "."), *((".", digit) for digit in "123456789"))


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
        self._pieces = write_tokenizer(folder, self._tokenizer, size.vocabulary, self._legacy)
        missing = [piece for piece in _ANSWER_PIECES if piece not in self._pieces]
        if missing:
            raise InvalidInputError(
                f"[random checkpoint] expected the tokenizer to hold the pieces of coordinates; "
                f"{self._tokenizer} lacks {', '.join(missing)}; use a tokenizer of the Llama 2 family"
            )
        write_config(folder, self._family, size, len(self._pieces), dtype, adapters=self._adapters)

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
