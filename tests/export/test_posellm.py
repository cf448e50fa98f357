# SPDX-License-Identifier: Apache-2.0
"""The whole model: names, filling it, and where image embeddings go."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from edgepose.export.models import (
    ConnectorConfig,
    DecoderConfig,
    ModelConfig,
    PoseModel,
    VisionConfig,
)

CONFIG = ModelConfig(
    VisionConfig(image_size=28, patch_size=14, hidden=64, layers=1, heads=1, mlp=64),
    ConnectorConfig((64, 32)),
    DecoderConfig(
        hidden=32,
        layers=1,
        heads=2,
        kv_heads=2,
        head_dim=16,
        intermediate=48,
        vocabulary=20,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        max_positions=64,
    ),
    image_token=20,
)


@pytest.mark.parametrize("tied", [False, True])
def test_from_weights_fills_every_parameter(tied: bool) -> None:
    config = dataclasses.replace(CONFIG, tied_head=tied)
    source = PoseModel(config)
    model = PoseModel.from_weights(config, source.state_dict())
    assert set(model.state_dict()) == set(source.state_dict())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, source.state_dict()[name])
    assert (model.lm_head.weight is model.decoder.embed_tokens.weight) == tied
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_embed_puts_image_rows_in_place_of_placeholders() -> None:
    model = PoseModel(CONFIG).requires_grad_(False)
    ids = torch.tensor([[1, 20, 20, 20, 20, 7], [20, 20, 20, 20, 3, 4]])
    image = torch.arange(2 * 4 * 32, dtype=torch.float32).view(2, 4, 32)
    embeddings = model.embed(ids, image)
    table = model.decoder.embed_tokens.weight
    torch.testing.assert_close(embeddings[0, 1:5], image[0])
    torch.testing.assert_close(embeddings[1, :4], image[1])
    torch.testing.assert_close(embeddings[0, [0, 5]], table[[1, 7]])
    torch.testing.assert_close(embeddings[1, 4:], table[[3, 4]])
    torch.testing.assert_close(model.embed(ids[:, 5:]), table[[7, 4]].unsqueeze(1))


def test_encode_image_gives_one_embedding_per_patch() -> None:
    assert PoseModel(CONFIG).encode_image(torch.zeros(2, 3, 28, 28)).shape == (2, 4, 32)
