# SPDX-License-Identifier: Apache-2.0
"""Compact models as checkpoints in the published layout, and back.

What the tensors mean to an export is written in `edgepose.export.weights`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from edgepose.errors import InvalidInputError
from edgepose.export.architectures.dinov2_llama import DINOV2_LLAMA
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import PoseModel
from edgepose.export.models.posellm import PoseConfig
from edgepose.export.random_checkpoint.layout import write_json
from edgepose.export.random_checkpoint.shards import remove_shards
from edgepose.export.weights import ModelWeights
from edgepose.training.posellm.model import resize_positions

__all__ = ["load_weights", "save_checkpoint"]


def save_checkpoint(model: PoseModel, folder: Path) -> Path:
    """Writes config.json and the weights in float16; the tokenizer's files are there already.

    Args:
        model: What to write; a PoseLLM, or a LocLLM if its connector has one layer.
        folder: Directory with the tokenizer.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    remove_shards(folder)
    one_layer = len(model.connector) == 1
    tensors = {
        _published(name, one_layer): value.detach().to("cpu", torch.float16).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", _config(model.config, "locllm" if one_layer else "posellm"))
    return folder


def load_weights(model: PoseModel, folder: Path) -> None:
    """Fills a model from a checkpoint; its position table is resized to the model's grid where it differs.

    Raises:
        InvalidInputError: the checkpoint is not of this layout, or of other sizes than the model.
    """
    weights = ModelWeights(open_checkpoint(folder), DINOV2_LLAMA)
    missing = [name for name in model.state_dict() if name not in weights]
    if missing:
        raise InvalidInputError(
            f"[training] expected the checkpoint {folder} to be of the model's sizes; it has no "
            f"{', '.join(missing[:4])}; begin with a checkpoint of the same model"
        )
    state = {name: weights[name].to(torch.float32) for name in model.state_dict()}
    table = state["vision.pos_embed"]
    state["vision.pos_embed"] = resize_positions(table, model.config.vision.grid)
    own = model.state_dict()
    wrong = [f"{name} {list(value.shape)}" for name, value in state.items() if value.shape != own[name].shape]
    if wrong:
        raise InvalidInputError(
            f"[training] expected the checkpoint {folder} to be of the model's sizes; got "
            f"{', '.join(wrong[:4])}; begin with a checkpoint of the same model"
        )
    model.load_state_dict(state)


def _published(name: str, one_layer: bool) -> str:
    """Published name of a canonical one; a connector of one layer has no number."""
    part, _, rest = name.partition(".")
    if part == "vision":
        return f"vision_model.{rest.replace('patch_embed.', 'patch_embed.proj.')}"
    if part == "decoder":
        return f"model.{rest}"
    if part == "connector":
        index, _, kind = rest.partition(".")
        return f"mm_projector.{kind}" if one_layer else f"mm_projector.{2 * int(index)}.{kind}"
    return name


def _config(config: PoseConfig, family: str) -> dict[str, object]:
    decoder = config.decoder
    return {
        "architectures": ["LocLLMModel" if family == "locllm" else "PoseLLMModel"],
        "model_type": family,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "hidden_act": "silu",
        "hidden_size": decoder.hidden,
        "head_dim": decoder.head_dim,
        "intermediate_size": decoder.intermediate,
        "max_position_embeddings": decoder.max_positions,
        "num_attention_heads": decoder.heads,
        "num_hidden_layers": decoder.layers,
        "num_key_value_heads": decoder.kv_heads,
        "rms_norm_eps": decoder.rms_norm_eps,
        "rope_theta": decoder.rope_theta,
        "rope_scaling": None,
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": "float16",
        "vocab_size": decoder.vocabulary,
        "crop_size": config.vision.image_size,
        "num_patches": config.vision.patches,
        "im_patch_token": config.image_token,
    }
