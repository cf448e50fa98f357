# SPDX-License-Identifier: Apache-2.0
"""Canonical weights of Qwen3-VL: names in every spelling, sizes, the head, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgepose.bundle import PatchGridSpec, VisionSpec
from edgepose.errors import InvalidInputError
from edgepose.export.architectures import QWEN3_VL
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import Decoder
from edgepose.export.models.qwen3_vl import GridVisionConfig, GridVisionEncoder, Mergers, MergersConfig
from edgepose.export.weights import ModelWeights, derive_config

pytest.importorskip("transformers")

State = dict[str, Tensor]
Config = dict[str, Any]
Change = Callable[[State, Config], object]
Make = Callable[..., Any]


def weights_of(path: Path, **options: Any) -> ModelWeights[GridVisionConfig, MergersConfig]:
    return ModelWeights(open_checkpoint(path), QWEN3_VL, **options)


@pytest.fixture
def save(tmp_path: Path, make_qwen3_vl: Make) -> Callable[..., Path]:
    """Writes the small model after a change."""

    def make(change: Change | None = None, *, name: str = "checkpoint", **sizes: Any) -> Path:
        saved: Path = make_qwen3_vl(**sizes).save(tmp_path / name, change)
        return saved

    return make


@pytest.fixture
def refusal(save: Callable[..., Path]) -> Callable[[Change], str]:
    def refuse(change: Change) -> str:
        with pytest.raises(InvalidInputError) as caught:
            weights_of(save(change))
        return str(caught.value)

    return refuse


def test_names_and_shapes_are_those_of_the_modules(save: Callable[..., Path]) -> None:
    weights = weights_of(save())
    config = weights.config
    modules = {
        "vision": GridVisionEncoder(config.vision),
        "connector": Mergers(config.connector),
        "decoder": Decoder(config.decoder),
    }
    expected = {
        f"{part}.{name}": tuple(tensor.shape)
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    assert {name: weights.shape(name) for name in weights} == {**expected, "lm_head.weight": (60, 64)}
    for name, tensor in weights.items():
        assert tuple(tensor.shape) == weights.shape(name)


def test_sizes_come_from_configuration_and_tensors(save: Callable[..., Path]) -> None:
    config = derive_config(open_checkpoint(save()), QWEN3_VL)
    assert config.vision == GridVisionConfig(
        patch_size=4,
        merge=2,
        hidden=32,
        layers=4,
        heads=2,
        mlp=48,
        table_side=5,
        rope_theta=10000.0,
        taps=(0, 2),
    )
    assert config.connector == MergersConfig(features=32, merge=2, out=64, deepstack=2)
    decoder = config.decoder
    assert decoder.qk_norm and decoder.rope_sections == (4, 2, 2) and decoder.deepstack == 2
    assert (decoder.rope_theta, decoder.max_positions, decoder.kv_heads, decoder.head_dim) == (
        5e6,
        256,
        2,
        16,
    )
    assert config.image_token == 59
    spec = VisionSpec(hidden=32, grid=PatchGridSpec(head_dim=16, rope_theta=10000.0, table_side=5, taps=2))
    assert QWEN3_VL.vision_spec(config) == spec


def test_both_layouts_of_the_configuration(save: Callable[..., Path]) -> None:
    def older(state: State, config: Config) -> None:
        text, vision = config["text_config"], config["vision_config"]
        for section in (text, vision):
            section.pop("rope_parameters", None)
        text["rope_theta"] = 5e6
        text["rope_scaling"] = {
            "mrope_interleaved": True,
            "mrope_section": [4, 2, 2],
            "rope_type": "default",
        }

    def newer(state: State, config: Config) -> None:
        text, vision = config["text_config"], config["vision_config"]
        for field in ("rope_theta", "rope_scaling"):
            text.pop(field, None)
        text["rope_parameters"] = {
            "rope_theta": 5e6,
            "mrope_interleaved": True,
            "mrope_section": [4, 2, 2],
            "rope_type": "default",
        }
        vision["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "axial"}

    configs = [weights_of(save(change, name=change.__name__)).config for change in (older, newer)]
    assert configs[0] == configs[1] == weights_of(save(name="as_saved")).config


@pytest.mark.parametrize(
    ("vision", "decoder", "head"),
    [
        ("visual.", "language_model.model.", "language_model.lm_head."),
        ("visual.", "model.", "lm_head."),
        ("module.model.visual.", "module.model.language_model.", "module.lm_head."),
    ],
)
def test_every_spelling_of_the_names(save: Callable[..., Path], vision: str, decoder: str, head: str) -> None:
    def respell(state: State, config: Config) -> None:
        for key in list(state):
            for theirs, other in (
                ("model.visual.", vision),
                ("model.language_model.", decoder),
                ("lm_head.", head),
            ):
                if key.startswith(theirs):
                    state[other + key.removeprefix(theirs)] = state.pop(key)

    changed, original = weights_of(save(respell, name="respelled")), weights_of(save())
    assert list(changed) == list(original)
    for name in original:
        assert torch.equal(changed[name], original[name])


def test_names_of_another_model_are_refused_at_once(refusal: Callable[[Change], str]) -> None:
    def rename(state: State, config: Config) -> None:
        for key in list(state):
            state[key.replace("visual.", "vision_tower.")] = state.pop(key)

    message = refusal(rename)
    assert "named model.visual.* with model.language_model.*, or visual.* with" in message
    assert "missing" not in message


def test_kernel_of_the_pictures_is_summed(save: Callable[..., Path]) -> None:
    path = save(lambda state, config: state.update({k: v.bfloat16() for k, v in state.items()}))
    weights = weights_of(path, dtype=None)
    kernel = open_checkpoint(path).tensors.load("model.visual.patch_embed.proj.weight")
    picture = torch.randn(1, 3, 1, 4, 4)
    twice = functional.conv3d(picture.expand(-1, -1, 2, -1, -1), kernel.float()).flatten()
    matrix = weights["vision.patch_embed.weight"]
    assert matrix.dtype == torch.float32 and matrix.shape == (32, 48)
    torch.testing.assert_close(matrix @ picture.flatten(), twice)
    assert weights["decoder.norm.weight"].dtype == torch.bfloat16
    assert weights.merged == ()


def test_rows_of_the_table_count_not_the_configuration(save: Callable[..., Path]) -> None:
    def extend(state: State, config: Config) -> None:
        for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
            state[name] = torch.cat((state[name], torch.zeros(7, 64)))

    weights = weights_of(save(extend))
    assert weights.config.decoder.vocabulary == 67
    assert weights.shape("lm_head.weight") == (67, 64)


@pytest.mark.parametrize(
    ("outer", "inner", "kept", "tied"),
    [
        (True, None, False, True),
        (True, False, True, True),  # written twice
        (False, True, True, False),
        (None, True, False, True),
        (None, None, False, True),
        (None, None, True, False),
    ],
)
def test_tied_heads(
    save: Callable[..., Path], outer: bool | None, inner: bool | None, kept: bool, tied: bool
) -> None:
    def change(state: State, config: Config) -> None:
        if not kept:
            del state["lm_head.weight"]
        for section, flag in ((config, outer), (config["text_config"], inner)):
            section.pop("tie_word_embeddings", None)
            if flag is not None:
                section["tie_word_embeddings"] = flag

    weights = weights_of(save(change))
    assert weights.config.tied_head == tied
    same = torch.equal(weights["lm_head.weight"], weights["decoder.embed_tokens.weight"])
    assert same == tied


def test_rotary_tensors_are_ignored(save: Callable[..., Path]) -> None:
    def add(state: State, config: Config) -> None:
        state["model.visual.rotary_pos_emb.inv_freq"] = torch.zeros(4)
        state["model.language_model.rotary_emb.inv_freq"] = torch.zeros(8)

    assert len(weights_of(save(add))) > 0


def test_one_message_lists_every_defect(refusal: Callable[[Change], str]) -> None:
    def change(state: State, config: Config) -> None:
        text, vision = "model.language_model.", "model.visual."
        del state[f"{text}norm.weight"], state[f"{text}layers.1.self_attn.k_norm.weight"]
        del state[f"{vision}deepstack_merger_list.1.norm.bias"]
        state[f"{text}layers.0.self_attn.q_proj.bias"] = torch.zeros(64)
        state[f"{vision}deepstack_merger_list.2.norm.bias"] = torch.zeros(128)
        state[f"{vision}pos_embed.weight"] = torch.zeros(24, 32)
        state[f"{vision}blocks.3.attn.qkv.bias"] = torch.zeros(32)
        state["lm_head.weight"] = torch.zeros(61, 64)

    message = refusal(change)
    for part in (
        "a Qwen3-VL checkpoint",
        "missing (3)",
        "model.language_model.norm.weight: expected [64]",
        "model.language_model.layers.1.self_attn.k_norm.weight: expected [16]",
        "model.visual.deepstack_merger_list.1.norm.bias: expected [128]",
        "unexpected (2)",
        "model.language_model.layers.0.self_attn.q_proj.bias: found [64]",
        "model.visual.deepstack_merger_list.2.norm.bias: found [128]",
        "wrong shape or type (3)",
        "model.visual.pos_embed.weight: found [24, 32], expected [M*M, 32]",
        "model.visual.blocks.3.attn.qkv.bias: found [32], expected [96]",
        "lm_head.weight: found [61, 64], expected [60, 64]",
    ):
        assert part in message


@pytest.mark.parametrize("shape", [(32, 3, 4, 4), (32, 3, 2, 4, 5), (32, 1, 2, 4, 4)])
def test_kernels_of_another_form_are_refused(
    refusal: Callable[[Change], str], shape: tuple[int, ...]
) -> None:
    key = "model.visual.patch_embed.proj.weight"
    message = refusal(lambda state, config: state.update({key: torch.zeros(shape)}))
    assert f"{key}: found {list(shape)}, expected [32, 3, t, p, p]" in message
    assert "unexpected" not in message


def nested(section: str, **fields: Any) -> Change:
    return lambda state, config: config[section].update(fields)


def rotary(**fields: Any) -> Change:
    def change(state: State, config: Config) -> None:
        text = config["text_config"]
        text[next(f for f in ("rope_parameters", "rope_scaling") if text.get(f))].update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, config: config.pop("text_config"), "text_config is None, not an object"),
        (lambda state, config: config.pop("image_token_id"), "image_token_id is None"),
        (nested("text_config", hidden_size="64"), "text_config.hidden_size is '64'"),
        (nested("text_config", attention_bias=True), "text_config.attention_bias is True"),
        (nested("text_config", hidden_act="gelu"), "text_config.hidden_act is 'gelu'; only 'silu' is known"),
        (nested("text_config", use_sliding_window=True), "text_config.use_sliding_window is True"),
        (nested("text_config", layer_types=["sliding_attention"] * 3), "others than 'full_attention'"),
        (nested("text_config", num_key_value_heads=3), "4 is no multiple of num_key_value_heads 3"),
        (nested("text_config", num_hidden_layers=2), "num_hidden_layers is 2, not more than the 2 layers"),
        (rotary(rope_type="yarn"), "rope_type is 'yarn'; only 'default' is known"),
        (rotary(mrope_interleaved=False), "mrope_interleaved is False; only True is known"),
        (rotary(partial_rotary_factor=0.5), "partial_rotary_factor is 0.5"),
        (rotary(mrope_section=[4, 4]), "mrope_section is [4, 4], not three counts"),
        (rotary(mrope_section=[2, 2, 2]), "mrope_section is [2, 2, 2], not three counts"),
        (rotary(mrope_section=[1, 4, 3]), "interleave to the 8 frequencies"),
        (rotary(mrope_section="all"), "mrope_section is 'all', not a list of whole numbers"),
        (nested("vision_config", hidden_act="gelu"), "vision_config.hidden_act is 'gelu'"),
        (nested("vision_config", in_channels=4), "vision_config.in_channels is 4"),
        (nested("vision_config", num_heads=3), "32 is no multiple of four times num_heads 3"),
        (nested("vision_config", out_hidden_size=65), "out_hidden_size is 65, not the 64 of"),
        (nested("vision_config", deepstack_visual_indexes=[2, 0]), "[2, 0], not ascending numbers of the 4"),
        (nested("vision_config", deepstack_visual_indexes=[1, 4]), "[1, 4], not ascending numbers of the 4"),
        (nested("vision_config", deepstack_visual_indexes=None), "deepstack_visual_indexes is None"),
    ],
)
def test_configurations_that_are_not_known(
    refusal: Callable[[Change], str], change: Change, message: str
) -> None:
    found = refusal(change)
    assert message in found and "a Qwen3-VL model" in found
