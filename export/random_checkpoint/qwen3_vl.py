# SPDX-License-Identifier: Apache-2.0
"""Random checkpoints of TAIHRI: Qwen3-VL with coordinate tokens.

Nothing here is learned, and reading checkpoints does not belong here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.random_checkpoint.answer_habits import AnswerHabits
from edgepose.export.random_checkpoint.byte_level_vocabulary import train_byte_level_tokenizer
from edgepose.export.random_checkpoint.layout import random_normal
from edgepose.export.random_checkpoint.qwen3_vl_settings import write_settings
from edgepose.export.random_checkpoint.qwen3_vl_size import RandomQwen3VlSize

__all__ = ["Qwen3VlLayout"]

_RANDOM_CHANNELS = 8
"""Channels of the residual stream that are left to chance, at least."""


class Qwen3VlLayout:
    """The layout of TAIHRI.

    What layers add keeps its scale through any depth, and queries and keys are large, so that attention is
    sharp and answers depend on image, prompt and positions. `AnswerHabits` makes answers look like answers.
    """

    file_format: Literal["bin", "safetensors"] = "safetensors"
    dtype = "bfloat16"

    _STREAM = 4.0
    """Standard deviation of the residual stream behind the last layer."""
    _LOGIT = 3.0
    """Standard deviation of logits."""
    _SHARPNESS = 2.0
    """Weight of the norms of queries and keys."""

    def __init__(self, size: RandomQwen3VlSize, *, seed: int = 0) -> None:
        self._size = size
        self._seed = seed
        self._habits: AnswerHabits | None = None
        self._vocabulary = size.vocabulary or 0
        self._branch = self._STREAM / math.sqrt(2 * size.layers)
        """Standard deviation of what half a layer adds to the stream."""

    def write_files(self, folder: Path, dtype: str) -> None:
        """Writes configurations and tokenizer.

        Raises:
            InvalidInputError: The sizes contradict each other.
        """
        size = self._size
        if size.vision_hidden % (4 * size.vision_heads) or size.heads % size.kv_heads or size.head_dim % 2:
            raise InvalidInputError(
                "[random checkpoint] expected vision_hidden a multiple of 4 * vision_heads, heads of "
                f"kv_heads, an even head_dim; got {size}; change these sizes"
            )
        least = AnswerHabits.CHANNELS
        if size.hidden < least + _RANDOM_CHANNELS or size.intermediate < least:
            raise InvalidInputError(
                f"[random checkpoint] expected hidden of at least {least + _RANDOM_CHANNELS} and "
                f"intermediate of at least {least}; got {size}; change these sizes"
            )
        if len(size.taps) >= size.layers or max(size.taps, default=0) >= size.vision_layers:
            raise InvalidInputError(
                "[random checkpoint] expected fewer taps than layers, each a layer of the encoder; got "
                f"{size}; change these sizes"
            )
        tokenizer = train_byte_level_tokenizer(folder / "tokenizer.json", merges=size.merges)
        tokens = tokenizer.get_vocab_size()
        self._vocabulary = size.vocabulary or tokens
        if self._vocabulary < tokens:
            raise InvalidInputError(
                f"[random checkpoint] expected a row for each of {tokens} tokens; got a vocabulary of "
                f"{self._vocabulary}; choose a larger one, or fewer merges"
            )
        self._habits = AnswerHabits(tokenizer.get_vocab(), size.layers, self._STREAM)
        write_settings(folder, size, tokenizer, self._vocabulary, dtype)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Published names and shapes, in the order of the published modules."""
        return {**_vision_shapes(self._size), **_text_shapes(self._size, self._vocabulary)}

    def make(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One published tensor, float32."""
        assert self._habits is not None  # write_files comes first
        tensor = random_normal(self._seed, name, shape)
        fan_in = math.prod(shape[1:])
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            self._habits.fill_table(tensor.mul_(self._LOGIT / math.sqrt(shape[1])))
        elif name.endswith(("q_norm.weight", "k_norm.weight")):
            tensor.mul_(0.1).add_(1.0).mul_(self._SHARPNESS)
        elif "norm" in name:
            tensor.mul_(0.1).add_(0.0 if name.endswith("bias") else 1.0)
        elif name.endswith("bias"):
            tensor.mul_(0.05)
        elif name.endswith("pos_embed.weight"):
            tensor.mul_(0.7)
        elif name.endswith("patch_embed.proj.weight"):
            # What is the same all over a patch says little about a photograph, but is most of it.
            tensor.sub_(tensor.mean(dim=(2, 3, 4), keepdim=True)).mul_(4 / math.sqrt(fan_in))
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.mul_(self._branch / math.sqrt(fan_in))
        elif name.startswith("model.visual.blocks.") and name.endswith(("proj.weight", "fc2.weight")):
            tensor.mul_(0.5 / math.sqrt(fan_in))
        else:
            tensor.mul_(1.5 / math.sqrt(fan_in))
        self._habits.keep_channels(name, tensor)
        return tensor


def _vision_shapes(size: RandomQwen3VlSize) -> dict[str, tuple[int, ...]]:
    width, stem = size.vision_hidden, "model.visual."
    shapes: dict[str, tuple[int, ...]] = {
        f"{stem}patch_embed.proj.weight": (width, 3, 2, size.patch_size, size.patch_size),
        f"{stem}patch_embed.proj.bias": (width,),
        f"{stem}pos_embed.weight": (size.table_side**2, width),
    }

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[f"{stem}{name}.weight"], shapes[f"{stem}{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str, channels: int) -> None:
        shapes[f"{stem}{name}.weight"] = shapes[f"{stem}{name}.bias"] = (channels,)

    for index in range(size.vision_layers):
        block = f"blocks.{index}."
        norm(f"{block}norm1", width)
        norm(f"{block}norm2", width)
        linear(f"{block}attn.qkv", 3 * width, width)
        linear(f"{block}attn.proj", width, width)
        linear(f"{block}mlp.linear_fc1", size.vision_intermediate, width)
        linear(f"{block}mlp.linear_fc2", width, size.vision_intermediate)
    mergers = [("merger", width), *((f"deepstack_merger_list.{k}", 4 * width) for k in range(len(size.taps)))]
    for merger, channels in mergers:
        norm(f"{merger}.norm", channels)
        linear(f"{merger}.linear_fc1", 4 * width, 4 * width)
        linear(f"{merger}.linear_fc2", size.hidden, 4 * width)
    return shapes


def _text_shapes(size: RandomQwen3VlSize, vocabulary: int) -> dict[str, tuple[int, ...]]:
    hidden, stem = size.hidden, "model.language_model."
    queries, shared = size.heads * size.head_dim, size.kv_heads * size.head_dim
    shapes: dict[str, tuple[int, ...]] = {f"{stem}embed_tokens.weight": (vocabulary, hidden)}
    for index in range(size.layers):
        layer = f"{stem}layers.{index}."
        shapes[f"{layer}self_attn.q_proj.weight"] = (queries, hidden)
        shapes[f"{layer}self_attn.k_proj.weight"] = (shared, hidden)
        shapes[f"{layer}self_attn.v_proj.weight"] = (shared, hidden)
        shapes[f"{layer}self_attn.o_proj.weight"] = (hidden, queries)
        shapes[f"{layer}self_attn.q_norm.weight"] = (size.head_dim,)
        shapes[f"{layer}self_attn.k_norm.weight"] = (size.head_dim,)
        shapes[f"{layer}mlp.gate_proj.weight"] = (size.intermediate, hidden)
        shapes[f"{layer}mlp.up_proj.weight"] = (size.intermediate, hidden)
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, size.intermediate)
        shapes[f"{layer}input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}post_attention_layernorm.weight"] = (hidden,)
    shapes[f"{stem}norm.weight"] = (hidden,)
    if not size.tied:
        shapes["lm_head.weight"] = (vocabulary, hidden)
    return shapes
