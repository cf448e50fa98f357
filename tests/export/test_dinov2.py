# SPDX-License-Identifier: Apache-2.0
"""The vision encoder against the one of transformers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgepose.export.models.dinov2 import VisionConfig, VisionEncoder

transformers = pytest.importorskip("transformers")

CONFIG = VisionConfig(image_size=70, patch_size=14, hidden=128, layers=3, heads=2, mlp=512)

_RENAMED = (
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
)


def randomize(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)


def load_from_transformers(ours: VisionEncoder, theirs: nn.Module) -> None:
    """Copies weights; theirs have separate query, key and value."""
    state = {}
    for name, tensor in theirs.state_dict().items():
        for older, newer in _RENAMED:  # transformers 5 has shorter names than 4
            name = name.replace(older, newer)
        state[name] = tensor

    def both(prefix: str, target: str) -> dict[str, Tensor]:
        return {f"{target}.{kind}": state[f"{prefix}.{kind}"] for kind in ("weight", "bias")}

    mapped = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        **both("embeddings.patch_embeddings.projection", "patch_embed"),
        **both("layernorm", "norm"),
    }
    for index in range(ours.config.layers):
        theirs_block, block = f"encoder.layer.{index}", f"blocks.{index}"
        for kind in ("weight", "bias"):
            mapped[f"{block}.attn.qkv.{kind}"] = torch.cat(
                [state[f"{theirs_block}.attention.{letter}_proj.{kind}"] for letter in "qkv"]
            )
        mapped |= both(f"{theirs_block}.attention.o_proj", f"{block}.attn.proj")
        for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            mapped |= both(f"{theirs_block}.{part}", f"{block}.{part}")
        mapped[f"{block}.ls1.gamma"] = state[f"{theirs_block}.layer_scale1.lambda1"]
        mapped[f"{block}.ls2.gamma"] = state[f"{theirs_block}.layer_scale2.lambda1"]
    ours.load_state_dict(mapped)


def test_agrees_with_transformers() -> None:
    theirs = transformers.Dinov2Model(
        transformers.Dinov2Config(
            hidden_size=CONFIG.hidden,
            num_hidden_layers=CONFIG.layers,
            num_attention_heads=CONFIG.heads,
            mlp_ratio=4,
            image_size=CONFIG.image_size,
            patch_size=CONFIG.patch_size,
            layer_norm_eps=CONFIG.layer_norm_eps,
            attn_implementation="eager",
        )
    ).eval()
    randomize(theirs, 1)
    ours = VisionEncoder(CONFIG).eval()
    load_from_transformers(ours, theirs)
    pixels = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = theirs(pixels).last_hidden_state[:, 1:]
        found = ours(pixels)
    assert found.shape == (2, CONFIG.patches, CONFIG.hidden)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_patches_are_in_row_major_order() -> None:
    config = VisionConfig(image_size=28, patch_size=14, hidden=64, layers=0, heads=1, mlp=64)
    encoder = VisionEncoder(config)
    nn.init.zeros_(encoder.patch_embed.bias)
    pixels = torch.zeros(1, 3, 28, 28)
    pixels[:, :, :14, 14:] = 1.0  # top right: the second patch
    features = encoder(pixels)[0]
    assert features.shape == (4, 64)
    assert features[1].abs().sum() > 0
    assert features[[0, 2, 3]].abs().sum() == 0


def test_sizes_follow_from_the_configuration() -> None:
    assert (CONFIG.grid, CONFIG.patches, CONFIG.head_dim) == (5, 25, 64)
