# SPDX-License-Identifier: Apache-2.0
"""The tensors of LocLLM and PoseLLM: DINOv2, a chain of linear layers, Llama; adapters on the first and last.

Which of the two a checkpoint is, is decided in `edgepose.export.families`.
"""

from __future__ import annotations

import functools
import math
import re

import torch
from torch import Tensor
from torch.nn import functional

from edgepose.export.checkpoint import Checkpoint
from edgepose.export.models.config import ModelConfig
from edgepose.export.models.connector import ConnectorConfig
from edgepose.export.models.dinov2 import HEAD_DIM, VisionConfig
from edgepose.export.models.llama import DecoderConfig
from edgepose.export.weights.decoder import add_decoder, check_heads
from edgepose.export.weights.plan import Plan, PlanBuilder, Shape
from edgepose.export.weights.settings import Settings

__all__ = ["interpolate_pos_embed", "plan_dinov2_llama"]

_EXPECTED = "a LocLLM or PoseLLM"

_IGNORED = re.compile(r"(.*\.)?rotary_emb\.inv_freq|vision_model\.mask_token")
"""Tensors that are saved but take no part in inference."""


def plan_dinov2_llama(checkpoint: Checkpoint) -> Plan[VisionConfig, ConnectorConfig]:
    """Plans a LocLLM or PoseLLM checkpoint.

    Raises:
        InvalidInputError: Fields of the configuration, or tensors, are missing, unexpected or of a wrong
            shape; one message lists all of them.
    """
    settings = Settings(checkpoint.config)
    decoder = _read_decoder(settings)
    crop_size, patches = settings.count("crop_size", 224), settings.count("num_patches", 0)
    image_token = settings.count("im_patch_token", 32000)
    tied = bool(checkpoint.config.get("tie_word_embeddings", False))
    adapters = {part: _read_adapter(settings, part) for part in ("llm", "vision")}
    if not settings.defects:
        check_heads(settings, decoder)
    settings.require("hidden_act", None, "silu")
    settings.require("rope_scaling", None)
    settings.require("attention_bias", None, False)
    settings.require("mlp_bias", None, False)
    settings.raise_if_any(checkpoint, _EXPECTED)

    builder = PlanBuilder(checkpoint.tensors, _published_name)
    add_decoder(builder, decoder, prefix="model.", tied_head=tied, adapter=adapters["llm"])
    vision = _add_vision(builder, crop_size, patches, adapters["vision"])
    connector = _add_connector(builder, vision.hidden if vision else None, decoder.hidden)
    builder.note_unexpected()
    builder.problems.raise_if_any(checkpoint, _EXPECTED)
    assert vision is not None and connector is not None  # otherwise a problem was recorded
    return Plan(ModelConfig(vision, connector, decoder, tied, image_token), builder.entries)


def _published_name(key: str) -> str | None:
    """Name without optional prefixes; None for tensors that take no part in inference."""
    name = key.removeprefix("module.")
    if name.startswith("model.mm_projector."):
        name = name.removeprefix("model.")
    return None if _IGNORED.fullmatch(name) else name


def _read_decoder(settings: Settings) -> DecoderConfig:
    hidden, heads = settings.count("hidden_size"), settings.count("num_attention_heads")
    return DecoderConfig(
        hidden=hidden,
        layers=settings.count("num_hidden_layers"),
        heads=heads,
        kv_heads=settings.count("num_key_value_heads", heads),
        head_dim=settings.count("head_dim", hidden // heads),
        intermediate=settings.count("intermediate_size"),
        vocabulary=settings.count("vocab_size"),
        rope_theta=settings.positive("rope_theta", 10000.0),
        rms_norm_eps=settings.positive("rms_norm_eps"),
        max_positions=settings.count("max_position_embeddings"),
    )


def _read_adapter(settings: Settings, part: str) -> tuple[int, float]:
    """Rank and scale alpha / r. Whether adapters are enabled is not asked: their tensors decide."""
    rank = settings.count(f"lora_{part}_r", 8)
    return rank, settings.positive(f"lora_{part}_alpha", 16.0) / rank


def _add_vision(
    builder: PlanBuilder, crop_size: int, patches: int, adapter: tuple[int, float]
) -> VisionConfig | None:
    config = _vision_config(builder, crop_size, patches)
    if config is None:
        return None
    hidden = config.hidden
    ours, theirs = "vision.", "vision_model."
    source = math.isqrt((builder.shape("vision_model.pos_embed") or (1, 2, hidden))[1] - 1)
    builder.add(f"{ours}cls_token", f"{theirs}cls_token", (1, 1, hidden))
    table = builder.add(f"{ours}pos_embed", f"{theirs}pos_embed", (1, 1 + source * source, hidden))
    if table:
        table.convert = functools.partial(interpolate_pos_embed, grid=config.grid)
        table.shape = (1, 1 + config.patches, hidden)
    kernel = (hidden, 3, config.patch_size, config.patch_size)
    builder.add_pair(f"{ours}patch_embed", f"{theirs}patch_embed.proj", kernel)
    for index in range(config.layers):
        block = f"blocks.{index}."
        fused = None
        for part, shape in (
            ("norm1.weight", (hidden,)),
            ("norm1.bias", (hidden,)),
            ("attn.qkv.weight", (3 * hidden, hidden)),
            ("attn.qkv.bias", (3 * hidden,)),
            ("attn.proj.weight", (hidden, hidden)),
            ("attn.proj.bias", (hidden,)),
            ("ls1.gamma", (hidden,)),
            ("norm2.weight", (hidden,)),
            ("norm2.bias", (hidden,)),
            ("mlp.fc1.weight", (config.mlp, hidden)),
            ("mlp.fc1.bias", (config.mlp,)),
            ("mlp.fc2.weight", (hidden, config.mlp)),
            ("mlp.fc2.bias", (hidden,)),
            ("ls2.gamma", (hidden,)),
        ):
            entry = builder.add(ours + block + part, theirs + block + part, shape)
            if part == "attn.qkv.weight":
                fused = entry
        for row, letter in ((0, "q"), (2 * hidden, "v")):  # the rows of the keys stay as they are
            stem = f"{theirs}{block}attn.lora_"
            builder.adapt(fused, row, hidden, (f"{stem}A_{letter}", f"{stem}B_{letter}"), adapter)
    builder.add_pair(f"{ours}norm", f"{theirs}norm", (hidden,))
    return config


def _vision_config(builder: PlanBuilder, crop_size: int, patches: int) -> VisionConfig | None:
    """Sizes of the encoder from tensor shapes; None after noting what keeps them from being read."""
    blocks = [
        int(match[1])
        for name in builder.keys
        if (match := re.match(r"vision_model\.blocks\.(\d+)\.", name)) is not None
    ]
    layers = 1 + max(blocks, default=0)
    first_mlp = next(
        (n for i in range(layers) if (n := f"vision_model.blocks.{i}.mlp.fc1.weight") in builder.keys),
        "vision_model.blocks.0.mlp.fc1.weight",
    )

    def fits_kernel(shape: Shape) -> bool:
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            return False
        return shape[0] > 0 and shape[0] % HEAD_DIM == 0 and 0 < shape[2] <= crop_size

    kernel = builder.expect_form(
        "vision_model.patch_embed.proj.weight",
        f"[D, 3, p, p] with D a multiple of {HEAD_DIM} and p at most crop_size {crop_size}",
        fits_kernel,
    )
    table = builder.expect_form(
        "vision_model.pos_embed",
        "[1, 1 + M*M, D]",
        lambda shape: len(shape) == 3 and shape[1] > 1 and math.isqrt(shape[1] - 1) ** 2 == shape[1] - 1,
    )
    fc1 = builder.expect_form(first_mlp, "[mlp, D]", lambda shape: len(shape) == 2)
    if kernel is None or table is None or fc1 is None:
        builder.forgive("vision_model.")
        return None
    config = VisionConfig(
        image_size=crop_size,
        patch_size=kernel[2],
        hidden=kernel[0],
        layers=layers,
        heads=kernel[0] // HEAD_DIM,
        mlp=fc1[0],
    )
    if patches and patches != config.patches:
        builder.problems.wrong.append(
            f"vision_model.patch_embed.proj.weight: patches of {kernel[2]} px make {config.patches} of "
            f"crop_size {crop_size}; config.json says num_patches {patches}"
        )
    return config


def _add_connector(builder: PlanBuilder, first: int | None, last: int) -> ConnectorConfig | None:
    """Layers by the loader rule: one `mm_projector.weight`, or `mm_projector.{i}.weight` in the order of i.

    Two-dimensional weights are linear layers, and between two of them stands the exact GELU; nothing else is
    known.
    """
    problems = builder.problems
    names = [name for name in builder.keys if name.startswith("mm_projector.")]
    numbered = sorted(
        int(m[1]) for name in names if (m := re.fullmatch(r"mm_projector\.(\d+)\.weight", name))
    )
    plain = "mm_projector.weight" in builder.keys
    if plain == bool(numbered):
        got = "both" if plain else "neither"
        problems.missing.append(
            f"mm_projector: expected either mm_projector.weight or mm_projector.{{i}}.weight; got {got}"
        )
        builder.forgive("mm_projector.")
        return None
    stems = ["mm_projector."] if plain else [f"mm_projector.{i}." for i in numbered]
    shapes = [builder.shape(f"{stem}weight") or () for stem in stems]
    odd = [(stem, shape) for stem, shape in zip(stems, shapes, strict=True) if len(shape) != 2]
    if odd:
        problems.wrong += [
            f"{builder.keys[f'{stem}weight']}: found {list(shape)}, expected [out, in] of a linear layer"
            for stem, shape in odd
        ]
        builder.forgive("mm_projector.")
        return None
    dims = [first if first is not None else shapes[0][1], *(shape[0] for shape in shapes[:-1]), last]
    for index, stem in enumerate(stems):
        builder.add_pair(f"connector.{index}", stem.removesuffix("."), (dims[index + 1], dims[index]))
    return ConnectorConfig(tuple(dims))


def interpolate_pos_embed(table: Tensor, grid: int) -> Tensor:
    """Resizes the position table of the vision encoder to another grid.

    The sampling positions follow the scale factor `(grid + 0.1) / source grid`, not the ratio of the grids,
    because that is what the published encoder did on every call; the values depend on it.

    Args:
        table: (1, 1 + M*M, hidden), the class position first, then the patches in row-major order.
        grid: Patches along one side of the new grid.

    Returns:
        (1, 1 + grid*grid, hidden) float32; the table itself where M already equals `grid`.

    Source: DINOv2's `interpolate_pos_encoding` under PyTorch 2.0 (bicubic, no antialiasing, corners not
    aligned).
    """
    source = math.isqrt(table.shape[1] - 1)
    wide = table.to(torch.float32)
    if source == grid:
        return wide
    patches = wide[:, 1:].reshape(1, source, source, -1).permute(0, 3, 1, 2)
    scale = (grid + 0.1) / source
    resized = functional.interpolate(
        patches,
        scale_factor=(scale, scale),
        mode="bicubic",
        align_corners=False,
        recompute_scale_factor=False,
        antialias=False,
    )
    return torch.cat((wide[:, :1], resized.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)), dim=1)
