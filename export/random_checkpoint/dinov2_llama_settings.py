# SPDX-License-Identifier: Apache-2.0
"""What lies beside the tensors of random LocLLM and PoseLLM checkpoints: configuration and tokenizer.

Tensors do not belong here.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgepose.errors import InvalidInputError
from edgepose.export.random_checkpoint.dinov2_llama_size import RandomSize
from edgepose.export.random_checkpoint.layout import write_json
from edgepose.export.random_checkpoint.sentencepiece_vocabulary import (
    train_tokenizer,
    write_tokenizer_settings,
)
from edgepose.export.tokenizer import parse_sentencepiece

__all__ = ["write_config", "write_tokenizer"]


def write_tokenizer(
    folder: Path, tokenizer: str | os.PathLike[str] | None, vocabulary: int | None, legacy: bool
) -> dict[str, int]:
    """Writes the tokenizer files.

    Args:
        folder: Of the checkpoint.
        tokenizer: SentencePiece model to copy; None has a tiny one trained.
        vocabulary: Pieces that it must have, or is filled up to; default: its own.
        legacy: As `tokenizer_config.json` has it.

    Returns:
        Piece to id.

    Raises:
        InvalidInputError: The model cannot be read, or has another number of pieces.
    """
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


def write_config(
    folder: Path, family: str, size: RandomSize, vocabulary: int, dtype: str, *, adapters: bool
) -> None:
    """Writes `config.json`.

    Args:
        folder: Of the checkpoint.
        family: `locllm` or `posellm`.
        size: Sizes of the model.
        vocabulary: Rows of embedding table and head.
        dtype: Type of the tensors.
        adapters: Whether the checkpoint has them.
    """
    config = {
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
    write_json(folder / "config.json", config)
