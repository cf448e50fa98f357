# SPDX-License-Identifier: Apache-2.0
"""The modules of Qwen3-VL, filled from a checkpoint, against those of transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgepose.export.architectures import QWEN3_VL
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import Decoder
from edgepose.export.models.loading import load_module
from edgepose.export.weights import ModelWeights

pytest.importorskip("transformers")

Make = Callable[..., Any]


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"deepstack_visual_indexes": [1, 3]},  # a tap of the last layer
        {"deepstack_visual_indexes": []},
        {"spatial_merge_size": 1, "hidden_size": 48, "num_heads": 3, "temporal_patch_size": 3},
    ],
)
@torch.inference_mode()
def test_vision_encoder_and_mergers(tmp_path: Path, make_qwen3_vl: Make, vision: dict[str, Any]) -> None:
    theirs = make_qwen3_vl(vision=vision)
    weights = ModelWeights(open_checkpoint(theirs.save(tmp_path)), QWEN3_VL)
    inputs = theirs.vision_inputs()
    expected = theirs.vision_outputs(inputs["patches"])
    found = QWEN3_VL.run_vision_encoder(weights.config, weights, inputs)
    found |= QWEN3_VL.run_connector(weights.config, weights, found)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("text", "taps"),
    [
        ({}, [0, 2]),
        ({"num_key_value_heads": 4}, []),
        (
            {
                "head_dim": 32,
                "num_key_value_heads": 1,
                "rope_scaling": {"rope_type": "default", "mrope_section": [6, 5, 5]},
            },
            [1],
        ),
    ],
)
@torch.inference_mode()
def test_decoder(
    tmp_path: Path, make_qwen3_vl: Make, text: dict[str, Any], taps: list[int], tied: bool
) -> None:
    theirs = make_qwen3_vl(text=text, vision={"deepstack_visual_indexes": taps}, tied=tied)
    weights = ModelWeights(open_checkpoint(theirs.save(tmp_path)), QWEN3_VL)
    config = weights.config.decoder
    ours = load_module(lambda: Decoder(config), "decoder.", weights)
    generator = torch.Generator().manual_seed(3)
    tokens, image = 11, slice(2, 8)
    embeddings = torch.randn(2, tokens, config.hidden, generator=generator)
    positions = torch.arange(tokens).expand(3, 2, tokens).clone()
    positions[:, :, image] = 2 + torch.tensor([[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]])[:, None]
    positions[:, :, 8:] = 5 + torch.arange(3)
    seen = torch.zeros(2, tokens, dtype=torch.bool)
    seen[:, image] = True
    rows = [torch.randn(12, config.hidden, generator=generator) for _ in taps]
    expected = theirs.model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=positions,
        visual_pos_masks=seen,
        deepstack_visual_embeds=rows or None,
        use_cache=False,
    ).last_hidden_state
    added = [torch.zeros(2, tokens, config.hidden) for _ in taps]
    for full, part in zip(added, rows, strict=True):
        full[:, image] = part.view(2, 6, -1)
    assert config.deepstack == len(taps)
    hidden, past = ours(embeddings, positions=positions, deepstack=added)
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-4)
    first, past = ours(
        embeddings[:, :9], positions=positions[:, :, :9], deepstack=[part[:, :9] for part in added]
    )
    rest, _ = ours(embeddings[:, 9:], positions=positions[:, :, 9:], past=past)
    torch.testing.assert_close(torch.cat((first, rest), dim=1), expected, rtol=1e-4, atol=1e-4)

    logits = expected @ weights["lm_head.weight"].T
    torch.testing.assert_close(logits, theirs.model.lm_head(expected))
    assert weights.config.tied_head == tied
