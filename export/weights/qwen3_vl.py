# SPDX-License-Identifier: Apache-2.0
"""The tensors of Qwen3-VL: vision encoder with taps, mergers, Qwen3 decoder.

What a system does with the model (its vocabulary, prompts and answers) does not belong here.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import Checkpoint
from edgepose.export.models.config import ModelConfig
from edgepose.export.models.llama import DecoderConfig
from edgepose.export.models.qwen3_vl import GridVisionConfig, MergersConfig
from edgepose.export.weights.decoder import add_decoder, check_heads
from edgepose.export.weights.plan import Plan, PlanBuilder, Shape
from edgepose.export.weights.settings import Settings

__all__ = ["plan_qwen3_vl"]

_EXPECTED = "a Qwen3-VL"

_ROPE_THETA = 10000.0
"""Base of the vision encoder's rotary positions where the configuration does not say it: transformers 4 did
not."""

_ROPE_SECTIONS = (24, 20, 20)
"""Of the decoder, where the configuration does not say them."""

_IGNORED = re.compile(r"(.*\.)?rotary(_pos)?_emb\.inv_freq")
"""Tensors that are saved but take no part in inference."""


@dataclass(frozen=True, slots=True)
class _Spelling:
    """Prefixes that one generation of the published code gives its tensors."""

    vision: str
    decoder: str
    head: str

    def covers(self, keys: Sequence[str]) -> bool:
        """Whether both parts are there under these prefixes."""
        return all(any(key.startswith(part) for key in keys) for part in (self.vision, self.decoder))


_PUBLISHED = _Spelling("model.visual.", "model.language_model.", "lm_head.")
_SPELLINGS = (
    _PUBLISHED,
    _Spelling("visual.", "language_model.model.", "language_model.lm_head."),
    _Spelling("visual.", "model.", "lm_head."),
)


def plan_qwen3_vl(checkpoint: Checkpoint) -> Plan[GridVisionConfig, MergersConfig]:
    """Plans a Qwen3-VL checkpoint.

    The rows of the embedding table count, not `vocab_size`: vocabularies get extended.

    Raises:
        InvalidInputError: Fields of the configuration, or tensors, are missing, unexpected or of a wrong
            shape; one message lists all of them.
    """
    settings = Settings(checkpoint.config)
    text, sight = settings.section("text_config"), settings.section("vision_config")
    image_token = settings.count("image_token_id")
    vision = _read_vision(sight)
    decoder = _read_decoder(text, len(vision.taps))
    if not settings.defects and (out := sight.count("out_hidden_size")) != decoder.hidden:
        settings.defects.append(
            f"vision_config.out_hidden_size is {out}, not the {decoder.hidden} of text_config.hidden_size"
        )
    settings.raise_if_any(checkpoint, _EXPECTED)

    rename = functools.partial(_published_name, _find_spelling(checkpoint))
    builder = PlanBuilder(checkpoint.tensors, rename)
    table = builder.shape(f"{_PUBLISHED.decoder}embed_tokens.weight")
    if table is not None and len(table) == 2:
        decoder = replace(decoder, vocabulary=table[0])
    tied = _is_tied(settings, text, "lm_head.weight" in builder.keys)
    add_decoder(builder, decoder, prefix=_PUBLISHED.decoder, tied_head=tied)
    found = _add_vision(builder, vision)
    connector = MergersConfig(vision.hidden, vision.merge, decoder.hidden, len(vision.taps))
    _add_mergers(builder, connector)
    builder.note_unexpected()
    builder.problems.raise_if_any(checkpoint, _EXPECTED)
    assert found is not None  # otherwise a problem was recorded
    return Plan(ModelConfig(found, connector, decoder, tied, image_token), builder.entries)


def _find_spelling(checkpoint: Checkpoint) -> _Spelling:
    keys = [key.removeprefix("module.") for key in checkpoint.tensors.keys()]  # noqa: SIM118  (not a mapping)
    for spelling in _SPELLINGS:
        if spelling.covers(keys):
            return spelling
    known = ", or ".join(f"{each.vision}* with {each.decoder}*" for each in _SPELLINGS)
    raise InvalidInputError(
        f"[weights] expected the tensors of {checkpoint.path} to be those of {_EXPECTED} model, named "
        f"{known}; got {', '.join(keys[:3])}{' and others' if len(keys) > 3 else ''}; save the whole model "
        "with save_pretrained"
    )


def _published_name(spelling: _Spelling, key: str) -> str | None:
    """Name in the spelling of today; None for tensors that take no part in inference."""
    name = key.removeprefix("module.")
    if _IGNORED.fullmatch(name):
        return None
    for theirs, published in (
        (spelling.vision, _PUBLISHED.vision),
        (spelling.head, _PUBLISHED.head),
        (spelling.decoder, _PUBLISHED.decoder),
    ):
        if name.startswith(theirs):
            return published + name.removeprefix(theirs)
    return name


def _is_tied(settings: Settings, text: Settings, has_head: bool) -> bool:
    """The outer flag counts, then that of the decoder; where there is none, whether a head is there."""
    for each in (settings, text):
        flag = each.fields.get("tie_word_embeddings")
        if flag is not None:
            return bool(flag)
    return not has_head


def _read_decoder(text: Settings, deepstack: int) -> DecoderConfig:
    heads, hidden = text.count("num_attention_heads"), text.count("hidden_size")
    layers = text.count("num_hidden_layers")
    # transformers 5 gathers the rotary fields in `rope_parameters`, transformers 4 leaves the base outside.
    gathered = text.fields.get("rope_parameters") is not None
    rope = text.optional_section("rope_parameters" if gathered else "rope_scaling")
    config = DecoderConfig(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=text.count("num_key_value_heads", heads),
        head_dim=text.count("head_dim", hidden // heads),
        intermediate=text.count("intermediate_size"),
        vocabulary=text.count("vocab_size"),
        rope_theta=(rope if gathered else text).positive("rope_theta"),
        rms_norm_eps=text.positive("rms_norm_eps"),
        max_positions=text.count("max_position_embeddings"),
        qk_norm=True,
        rope_sections=rope.counts("mrope_section", _ROPE_SECTIONS),
        deepstack=deepstack,
    )
    if not text.defects:
        check_heads(text, config)
        if not _interleaves(config.rope_sections, config.head_dim // 2):
            text.defects.append(
                f"mrope_section is {list(config.rope_sections)}, not three counts that interleave to the "
                f"{config.head_dim // 2} frequencies of a head"
            )
        if layers <= deepstack:
            text.defects.append(
                f"num_hidden_layers is {layers}, not more than the {deepstack} layers that "
                "deepstack_visual_indexes adds image features behind"
            )
    text.require("hidden_act", None, "silu")
    text.require("attention_bias", None, False)
    text.require("use_sliding_window", None, False)
    if any(kind != "full_attention" for kind in text.fields.get("layer_types") or ()):
        text.defects.append("layer_types names others than 'full_attention', which alone is known")
    for name in ("rope_type", "type"):
        rope.require(name, None, "default")
    rope.require("mrope_interleaved", None, True)
    rope.require("partial_rotary_factor", None, 1.0)
    return config


def _interleaves(sections: Sequence[int], frequencies: int) -> bool:
    """Whether rows and columns find as many frequencies at every third place as they are to have."""
    return (
        len(sections) == 3
        and sum(sections) == frequencies
        and all(
            not count or 3 * (count - 1) + axis < frequencies for axis, count in enumerate(sections) if axis
        )
    )


def _read_vision(sight: Settings) -> GridVisionConfig:
    """Sizes as the configuration tells them; side of patches and position table are told by tensors."""
    hidden, heads, layers = sight.count("hidden_size"), sight.count("num_heads"), sight.count("depth")
    taps = sight.counts("deepstack_visual_indexes")
    rope = sight.optional_section("rope_parameters")
    config = GridVisionConfig(
        patch_size=0,
        merge=sight.count("spatial_merge_size"),
        hidden=hidden,
        layers=layers,
        heads=heads,
        mlp=sight.count("intermediate_size"),
        table_side=0,
        rope_theta=rope.positive("rope_theta", _ROPE_THETA),
        taps=taps,
    )
    if not sight.defects:
        if hidden % (4 * heads):
            sight.defects.append(
                f"vision_config.hidden_size {hidden} is no multiple of four times num_heads {heads}, as "
                "rotary positions of rows and columns need it"
            )
        if list(taps) != sorted(set(taps)) or any(tap >= layers for tap in taps):
            sight.defects.append(
                f"vision_config.deepstack_visual_indexes is {list(taps)}, not ascending numbers of the "
                f"{layers} layers"
            )
    sight.require("hidden_act", None, "gelu_pytorch_tanh")
    sight.require("in_channels", None, 3)
    rope.require("rope_type", None, "axial")
    return config


def _add_vision(builder: PlanBuilder, config: GridVisionConfig) -> GridVisionConfig | None:
    """Expects the encoder; returns its sizes with those that tensors tell, or None after noting a problem."""
    hidden, theirs = config.hidden, _PUBLISHED.vision
    kernel = builder.expect_form(
        f"{theirs}patch_embed.proj.weight",
        f"[{hidden}, 3, t, p, p]",
        lambda shape: len(shape) == 5 and shape[:2] == (hidden, 3) and shape[3] == shape[4] > 0 < shape[2],
    )
    table = builder.expect_form(
        f"{theirs}pos_embed.weight",
        f"[M*M, {hidden}]",
        lambda shape: len(shape) == 2 and shape[1] == hidden and _is_square(shape[0]),
    )
    for index in range(config.layers):
        block = f"blocks.{index}."
        for ours, part, shape in (
            ("norm1", "norm1", (hidden,)),
            ("attn.qkv", "attn.qkv", (3 * hidden, hidden)),
            ("attn.proj", "attn.proj", (hidden, hidden)),
            ("norm2", "norm2", (hidden,)),
            ("mlp.fc1", "mlp.linear_fc1", (config.mlp, hidden)),
            ("mlp.fc2", "mlp.linear_fc2", (hidden, config.mlp)),
        ):
            builder.add_pair(f"vision.{block}{ours}", f"{theirs}{block}{part}", shape)
    builder.add("vision.patch_embed.bias", f"{theirs}patch_embed.proj.bias", (hidden,))
    if kernel is None or table is None:
        builder.forgive(f"{theirs}patch_embed.")
        builder.forgive(f"{theirs}pos_embed.")
        return None
    found = replace(config, patch_size=kernel[3], table_side=math.isqrt(table[0]))
    matrix = builder.add("vision.patch_embed.weight", f"{theirs}patch_embed.proj.weight", kernel)
    if matrix is not None:
        matrix.shape = (hidden, found.patch_values)
        matrix.convert = _sum_pictures
    builder.add("vision.pos_embed.weight", f"{theirs}pos_embed.weight", table)
    return found


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


def _sum_pictures(kernel: Tensor) -> Tensor:
    """A convolution over t pictures, (V, 3, t, p, p), as the matrix (V, 3*p*p) for t equal ones; float32."""
    return kernel.to(torch.float32).sum(dim=2).flatten(1)


def _add_mergers(builder: PlanBuilder, config: MergersConfig) -> None:
    square: Shape = (config.square, config.square)
    mergers = [("merger", "merger", config.features)]
    mergers += [
        (f"deepstack.{index}", f"deepstack_merger_list.{index}", config.square)
        for index in range(config.deepstack)
    ]
    for ours, part, width in mergers:
        theirs = f"{_PUBLISHED.vision}{part}"
        builder.add_pair(f"connector.{ours}.norm", f"{theirs}.norm", (width,))
        builder.add_pair(f"connector.{ours}.fc1", f"{theirs}.linear_fc1", square)
        builder.add_pair(f"connector.{ours}.fc2", f"{theirs}.linear_fc2", (config.out, config.square))
