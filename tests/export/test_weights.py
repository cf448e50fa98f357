# SPDX-License-Identifier: Apache-2.0
"""Canonical weights: names, merging, the position table, the connector rule, and one message for all
defects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgepose.errors import InvalidInputError
from edgepose.export.architectures import DINOV2_LLAMA
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import ConnectorConfig, PoseModel, VisionConfig
from edgepose.export.weights import ModelWeights, derive_config, interpolate_pos_embed

State = dict[str, Tensor]
Rewrite = Callable[..., Path]


def weights_of(path: Path, **options: Any) -> ModelWeights[VisionConfig, ConnectorConfig]:
    return ModelWeights(open_checkpoint(path), DINOV2_LLAMA, **options)


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        weights_of(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["locllm_checkpoint", "posellm_checkpoint"])
def test_names_and_shapes_are_those_of_the_model(name: str, request: pytest.FixtureRequest) -> None:
    weights = weights_of(request.getfixturevalue(name))
    expected = {k: tuple(v.shape) for k, v in PoseModel(weights.config).state_dict().items()}
    assert {k: weights.shape(k) for k in weights} == expected
    for key, tensor in weights.items():
        assert tuple(tensor.shape) == weights.shape(key)
        assert tensor.dtype == torch.float32
    assert len(weights) == len(expected) and "lm_head.weight" in weights and "nothing" not in weights


def test_sizes_come_from_the_checkpoint(locllm_checkpoint: Path, posellm_checkpoint: Path) -> None:
    config = derive_config(open_checkpoint(locllm_checkpoint), DINOV2_LLAMA)
    assert (config.vision.hidden, config.vision.layers, config.vision.heads, config.vision.mlp) == (
        128,
        2,
        2,
        512,
    )
    assert (config.vision.image_size, config.vision.patches) == (224, 256)
    assert (config.decoder.hidden, config.decoder.layers, config.decoder.heads) == (128, 3, 4)
    assert config.connector.dims == (128, 128)
    assert config.image_token == config.decoder.vocabulary
    assert not config.tied_head
    assert derive_config(open_checkpoint(posellm_checkpoint), DINOV2_LLAMA).connector.dims == (128, 192, 128)


def test_llm_adapters_are_merged_as_their_branch_computes(locllm_checkpoint: Path) -> None:
    weights = weights_of(locllm_checkpoint)
    tensors = open_checkpoint(locllm_checkpoint).tensors
    x = torch.randn(5, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for letter in "qv":
        stem = f"model.layers.1.self_attn.{letter}_proj."
        base, down, up = (tensors.load(stem + part).double() for part in ("weight", "lora_A", "lora_B"))
        branch = functional.linear(x, base) + 2.0 * functional.linear(functional.linear(x, down), up)
        name = f"decoder.layers.1.self_attn.{letter}_proj.weight"
        merged = functional.linear(x, weights[name].double())
        torch.testing.assert_close(merged, branch, rtol=1e-5, atol=1e-5)
        assert (merged - functional.linear(x, base)).abs().max() > 0.1
        assert name in weights.merged
    key = tensors.load("model.layers.1.self_attn.k_proj.weight")
    assert torch.equal(weights["decoder.layers.1.self_attn.k_proj.weight"], key)


def test_vision_adapters_change_the_rows_of_query_and_value_only(locllm_checkpoint: Path) -> None:
    weights = weights_of(locllm_checkpoint)
    tensors = open_checkpoint(locllm_checkpoint).tensors
    stem = "vision_model.blocks.0.attn."
    x = torch.randn(5, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    fused = functional.linear(x, tensors.load(f"{stem}qkv.weight").double()).view(5, 3, 128)
    query, key, value = fused.unbind(1)
    parts = {p: tensors.load(f"{stem}lora_{p}").double() for p in ("A_q", "B_q", "A_v", "B_v")}
    query = query + 2.0 * (x @ parts["A_q"].T) @ parts["B_q"].T
    value = value + 2.0 * (x @ parts["A_v"].T) @ parts["B_v"].T
    merged = functional.linear(x, weights["vision.blocks.0.attn.qkv.weight"].double())
    torch.testing.assert_close(merged, torch.cat((query, key, value), dim=1), rtol=1e-5, atol=1e-5)
    rows = weights["vision.blocks.0.attn.qkv.weight"][128:256]
    assert torch.equal(rows, tensors.load(f"{stem}qkv.weight")[128:256])


def test_scale_and_rank_come_from_the_configuration(rewrite: Rewrite, locllm_checkpoint: Path) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        config["lora_llm_alpha"] = 4

    name, stem = "decoder.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj."
    tensors = open_checkpoint(locllm_checkpoint).tensors
    update = tensors.load(f"{stem}lora_B") @ tensors.load(f"{stem}lora_A")
    found = weights_of(rewrite(change))[name] - tensors.load(f"{stem}weight")
    torch.testing.assert_close(found, 0.5 * update, rtol=1e-4, atol=1e-5)


def test_presence_of_tensors_decides_not_the_flags(rewrite: Rewrite, locllm_checkpoint: Path) -> None:
    def disable(state: State, config: dict[str, Any]) -> None:
        config["lora_llm_enable"] = config["lora_vision_enable"] = False

    def remove(state: State, config: dict[str, Any]) -> None:
        for key in [key for key in state if "lora_" in key]:
            del state[key]

    assert weights_of(rewrite(disable, name="disabled")).merged == weights_of(locllm_checkpoint).merged
    assert weights_of(rewrite(remove, name="removed")).merged == ()


def test_without_a_type_tensors_stay_as_stored_but_merged_ones_are_float32(posellm_checkpoint: Path) -> None:
    weights = weights_of(posellm_checkpoint, dtype=None)
    assert weights["decoder.norm.weight"].dtype == torch.float16
    assert weights["decoder.layers.0.self_attn.q_proj.weight"].dtype == torch.float32
    assert weights["vision.pos_embed"].dtype == torch.float32
    assert weights.source_dtype("vision.pos_embed") == torch.float16


def bicubic(table: np.ndarray[Any, Any], grid: int) -> np.ndarray[Any, Any]:
    """Cubic convolution with a = -0.75 at the published places, borders repeated. `table` (M, M, C)."""
    source = table.shape[0]
    a = -0.75

    def kernel(t: float) -> float:
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    matrix = np.zeros((grid, source))
    for i in range(grid):
        place = (i + 0.5) / ((grid + 0.1) / source) - 0.5
        base = int(np.floor(place))
        for j in range(base - 1, base + 3):
            matrix[i, min(max(j, 0), source - 1)] += kernel(place - j)
    rows: np.ndarray[Any, Any] = np.einsum("im,jn,mnc->ijc", matrix, matrix, table)
    return rows


@pytest.mark.parametrize(("source", "grid"), [(37, 16), (37, 8), (5, 9), (16, 15)])
def test_position_table_is_sampled_where_the_published_code_samples(source: int, grid: int) -> None:
    table = torch.randn(1, 1 + source * source, 6, generator=torch.Generator().manual_seed(3))
    found = interpolate_pos_embed(table, grid)
    expected = bicubic(table[0, 1:].view(source, source, 6).double().numpy(), grid)
    assert found.shape == (1, 1 + grid * grid, 6)
    assert torch.equal(found[:, 0], table[:, 0])
    np.testing.assert_allclose(found[0, 1:].view(grid, grid, 6).numpy(), expected, atol=2e-5)

    scale = (grid + 0.1) / source
    patches = table[:, 1:].view(1, source, source, 6).permute(0, 3, 1, 2)
    torchs = functional.interpolate(patches, scale_factor=(scale, scale), mode="bicubic")
    torch.testing.assert_close(found[0, 1:].view(grid, grid, 6), torchs[0].permute(1, 2, 0))
    without = functional.interpolate(patches, size=(grid, grid), mode="bicubic")
    assert (torchs - without).abs().max() > 1e-3, "the offset of 0.1 matters"


def test_position_table_of_the_right_size_is_left_alone() -> None:
    table = torch.randn(1, 17, 4)
    assert torch.equal(interpolate_pos_embed(table, 4), table)


def test_resized_table_reaches_the_weights(locllm_checkpoint: Path) -> None:
    stored = open_checkpoint(locllm_checkpoint).tensors.load("vision_model.pos_embed")
    weights = weights_of(locllm_checkpoint)
    assert weights.shape("vision.pos_embed") == (1, 257, 128)
    assert torch.equal(weights["vision.pos_embed"], interpolate_pos_embed(stored, 16))


def test_optional_prefixes_are_stripped(rewrite: Rewrite, locllm_checkpoint: Path) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        for key in list(state):
            infix = "model." if key.startswith("mm_projector.") else ""
            state[f"module.{infix}{key}"] = state.pop(key)

    changed, original = weights_of(rewrite(change)), weights_of(locllm_checkpoint)
    assert list(changed) == list(original)
    assert torch.equal(changed["connector.0.weight"], original["connector.0.weight"])


def test_tied_head_is_the_embedding_table(rewrite: Rewrite) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        config["tie_word_embeddings"] = True
        del state["lm_head.weight"]

    weights = weights_of(rewrite(change))
    assert weights.config.tied_head
    assert torch.equal(weights["lm_head.weight"], weights["decoder.embed_tokens.weight"])


def test_connector_layers_are_taken_in_the_order_of_their_numbers(rewrite: Rewrite) -> None:
    layers = {2: (128, 7), 10: (9, 128), 4: (9, 9)}

    def change(state: State, config: dict[str, Any]) -> None:
        del state["mm_projector.weight"], state["mm_projector.bias"]
        for number, (rows, columns) in {2: (7, 128), 4: (9, 7), 10: (128, 9)}.items():
            state[f"mm_projector.{number}.weight"] = torch.full((rows, columns), float(number))
            state[f"mm_projector.{number}.bias"] = torch.zeros(rows)

    weights = weights_of(rewrite(change))
    assert weights.config.connector.dims == (128, 7, 9, 128)
    assert [float(weights[f"connector.{j}.weight"][0, 0]) for j in range(3)] == sorted(layers)


def test_connectors_of_another_form_are_refused(rewrite: Rewrite) -> None:
    def norm(state: State, config: dict[str, Any]) -> None:
        state["mm_projector.0.weight"] = torch.zeros(128)
        state["mm_projector.1.weight"] = state.pop("mm_projector.weight")

    def both(state: State, config: dict[str, Any]) -> None:
        state["mm_projector.0.weight"] = torch.zeros(128, 128)

    def neither(state: State, config: dict[str, Any]) -> None:
        del state["mm_projector.weight"], state["mm_projector.bias"]

    def chain(state: State, config: dict[str, Any]) -> None:
        state["mm_projector.0.weight"] = torch.zeros(64, 128)
        state["mm_projector.0.bias"] = torch.zeros(64)
        state["mm_projector.2.weight"] = state.pop("mm_projector.weight")
        state["mm_projector.2.bias"] = state.pop("mm_projector.bias")

    assert "mm_projector.0.weight: found [128], expected [out, in]" in refusal(rewrite(norm, name="norm"))
    assert "got both" in refusal(rewrite(both, name="both"))
    assert "got neither" in refusal(rewrite(neither, name="neither"))
    message = refusal(rewrite(chain, name="chain"))
    assert "mm_projector.2.weight: found [128, 128], expected [128, 64]" in message


def test_one_message_lists_every_defect(rewrite: Rewrite) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        del state["model.norm.weight"], state["vision_model.blocks.1.ls2.gamma"]
        state["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(128)
        state["something.else"] = torch.zeros(1)
        state["model.layers.2.mlp.up_proj.weight"] = torch.zeros(100, 128)
        state["model.layers.1.self_attn.v_proj.lora_A"] = torch.zeros(4, 128)
        del state["vision_model.blocks.0.attn.lora_B_q"]
        state["lm_head.weight"] = state["lm_head.weight"].to(torch.int32)

    message = refusal(rewrite(change))
    for part in (
        "missing (3)",
        "model.norm.weight: expected [128]",
        "vision_model.blocks.1.ls2.gamma: expected [128]",
        "vision_model.blocks.0.attn.lora_B_q: expected [128, 8]",
        "unexpected (2)",
        "model.layers.0.self_attn.q_proj.bias: found [128]",
        "something.else: found [1]",
        "wrong shape or type (3)",
        "model.layers.2.mlp.up_proj.weight: found [100, 128], expected [256, 128]",
        "model.layers.1.self_attn.v_proj.lora_A: found [4, 128], expected [8, 128]",
        "lm_head.weight: found type torch.int32",
    ):
        assert part in message


def test_vision_sizes_that_cannot_be_read_are_reported_with_the_rest(rewrite: Rewrite) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        del state["vision_model.patch_embed.proj.weight"]
        state["vision_model.pos_embed"] = torch.zeros(1, 100, 128)
        del state["model.norm.weight"]

    message = refusal(rewrite(change))
    assert "vision_model.patch_embed.proj.weight: expected [D, 3, p, p]" in message
    assert "vision_model.pos_embed: found [1, 100, 128], expected [1, 1 + M*M, D]" in message
    assert "model.norm.weight" in message
    assert "unexpected" not in message


def test_configuration_and_patches_must_agree(rewrite: Rewrite) -> None:
    def patches(state: State, config: dict[str, Any]) -> None:
        config["num_patches"] = 255

    def tiny(state: State, config: dict[str, Any]) -> None:
        config["crop_size"] = 13

    assert "config.json says num_patches 255" in refusal(rewrite(patches, name="patches"))
    assert "p at most crop_size 13" in refusal(rewrite(tiny, name="tiny"))


def test_layers_beyond_the_configuration_are_unexpected(rewrite: Rewrite) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        config["num_hidden_layers"] = 2

    message = refusal(rewrite(change))
    assert "model.layers.2.mlp.up_proj.weight" in message and "missing" not in message


def test_the_same_tensor_under_two_names_is_refused(rewrite: Rewrite) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        state["module.model.norm.weight"] = torch.zeros(128)

    assert "means the same as" in refusal(rewrite(change))


def test_one_message_lists_every_defect_of_the_configuration(rewrite: Rewrite) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        del config["hidden_size"]
        config |= {
            "num_hidden_layers": "3",
            "rms_norm_eps": -1,
            "hidden_act": "gelu",
            "rope_scaling": {"type": "linear", "factor": 2.0},
            "attention_bias": True,
        }

    message = refusal(rewrite(change))
    for part in (
        "hidden_size is None",
        "num_hidden_layers is '3'",
        "rms_norm_eps is -1",
        "hidden_act is 'gelu'",
        "rope_scaling is {'type': 'linear'",
        "attention_bias is True",
    ):
        assert part in message


def test_heads_must_divide(rewrite: Rewrite) -> None:
    def change(state: State, config: dict[str, Any]) -> None:
        config |= {"num_attention_heads": 3, "num_key_value_heads": 2}

    message = refusal(rewrite(change))
    assert "num_attention_heads 3 is no multiple of num_key_value_heads 2" in message
    assert "hidden_size 128 is no multiple of num_attention_heads 3" in message
