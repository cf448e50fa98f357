# SPDX-License-Identifier: Apache-2.0
"""Configurations of random TAIHRI checkpoints: model, chat, image processor, generation.

Tensors do not belong here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edgepose.export.random_checkpoint.layout import write_json
from edgepose.export.random_checkpoint.qwen3_vl_size import RandomQwen3VlSize

__all__ = ["write_settings"]

_CHAT_TEMPLATE = """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.content is string -%}
        {{- message.content -}}
    {%- else -%}
        {%- for part in message.content -%}
            {%- if part.type == 'image' -%}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif part.type == 'text' -%}
                {{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def write_settings(
    folder: Path, size: RandomQwen3VlSize, tokenizer: Tokenizer, vocabulary: int, dtype: str
) -> None:
    """Writes every file but the tokenizer and the tensors, as transformers 4.57 does.

    Args:
        folder: Of the checkpoint.
        size: Its sizes.
        tokenizer: Its tokenizer, for the ids of special tokens.
        vocabulary: Rows of the embedding table.
        dtype: Type of the tensors.
    """
    write_json(folder / "config.json", _config(size, tokenizer, vocabulary, dtype))
    (folder / "chat_template.jinja").write_text(_CHAT_TEMPLATE, encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 262144,
            "pad_token": "<|endoftext|>",
            "processor_class": "Qwen3VLProcessor",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    picture = {
        # Twice: transformers 4.57 overlooks `size`.
        "size": {"longest_edge": size.max_pixels, "shortest_edge": 16 * 28 * 28},
        "min_pixels": 16 * 28 * 28,
        "max_pixels": size.max_pixels,
        "patch_size": size.patch_size,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
    }
    write_json(
        folder / "preprocessor_config.json", {**picture, "image_processor_type": "Qwen2VLImageProcessorFast"}
    )
    write_json(
        folder / "video_preprocessor_config.json",
        {**picture, "video_processor_type": "Qwen3VLVideoProcessor"},
    )
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
            "do_sample": False,
            "eos_token_id": [tokenizer.token_to_id("<|im_end|>")],
            "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
            "repetition_penalty": 1.05,
            "transformers_version": "4.57.1",
        },
    )


def _config(size: RandomQwen3VlSize, tokenizer: Tokenizer, vocabulary: int, dtype: str) -> dict[str, Any]:
    frequencies = size.head_dim // 2
    others = frequencies * 20 // 64
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
        "model_type": "qwen3_vl",
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
            "dtype": dtype,
            "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
            "head_dim": size.head_dim,
            "hidden_act": "silu",
            "hidden_size": size.hidden,
            "initializer_range": 0.02,
            "intermediate_size": size.intermediate,
            "max_position_embeddings": 262144,
            "model_type": "qwen3_vl_text",
            "num_attention_heads": size.heads,
            "num_hidden_layers": size.layers,
            "num_key_value_heads": size.kv_heads,
            "rms_norm_eps": 1e-06,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": [frequencies - 2 * others, others, others],
                "rope_type": "default",
            },
            "rope_theta": 5000000,
            "tie_word_embeddings": size.tied,
            "use_cache": True,
            "vocab_size": vocabulary,
        },
        "tie_word_embeddings": size.tied,
        "transformers_version": "4.57.1",
        "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
        "vision_config": {
            "deepstack_visual_indexes": list(size.taps),
            "depth": size.vision_layers,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": size.vision_hidden,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": size.vision_intermediate,
            "model_type": "qwen3_vl",
            "num_heads": size.vision_heads,
            "num_position_embeddings": size.table_side**2,
            "out_hidden_size": size.hidden,
            "patch_size": size.patch_size,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
    }
