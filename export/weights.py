# SPDX-License-Identifier: Apache-2.0
"""Turns published tensors of LocLLM and PoseLLM into canonical ones: renamed, merged, position table resized.

Files are read in `edgepose.export.checkpoint`; which family a checkpoint belongs to is decided in
`edgepose.export.families`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import Checkpoint, TensorSource
from edgepose.export.models import ConnectorConfig, DecoderConfig, ModelConfig, VisionConfig
from edgepose.export.models.dinov2 import HEAD_DIM

__all__ = ["ModelWeights", "derive_config", "interpolate_pos_embed"]

Shape = tuple[int, ...]

_IGNORED = re.compile(r"(.*\.)?rotary_emb\.inv_freq|vision_model\.mask_token")
"""Tensors that are saved but take no part in inference."""


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


@dataclass(frozen=True, slots=True)
class Adapter:
    """A low-rank update of some rows of a matrix: `W[row : row + B.rows] += scale * B @ A`."""

    row: int
    down: str
    """File key of A, (r, in)."""
    up: str
    """File key of B, (out, r)."""
    scale: float


@dataclass(slots=True)
class Entry:
    """Where one canonical tensor comes from."""

    key: str
    """Key in the file."""
    shape: Shape
    adapters: list[Adapter] = field(default_factory=list)
    grid: int | None = None
    """New grid of a position table."""


@dataclass(slots=True)
class Problems:
    """Everything that is wrong with the tensors of a checkpoint, for one message."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def raise_if_any(self, checkpoint: Checkpoint) -> None:
        parts = [
            f"\n  {title} ({len(lines)}):" + "".join(f"\n    {line}" for line in lines)
            for title, lines in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("of a wrong shape or type", self.wrong),
            )
            if lines
        ]
        if parts:
            raise InvalidInputError(
                f"[weights] expected the tensors of a LocLLM or PoseLLM checkpoint with the sizes of "
                f"{checkpoint.config_path}; in {checkpoint.path} these differ:{''.join(parts)}\n"
                "  use the config.json and the weights of one and the same training run"
            )


class ModelWeights(Mapping[str, Tensor]):
    """Lazy mapping from canonical names to tensors of a checkpoint.

    Nothing is kept: every access reads the file again, merges adapters in float32 and returns a fresh
    tensor, so the memory in use is one tensor. The canonical names are those of `PoseModel.state_dict()`.
    """

    def __init__(self, checkpoint: Checkpoint, *, dtype: torch.dtype | None = torch.float32) -> None:
        """Checks all names and shapes; reads no tensor data.

        Args:
            checkpoint: An opened LocLLM or PoseLLM checkpoint.
            dtype: Type of the returned tensors; None returns what the file holds, float32 where something was
                computed.

        Raises:
            InvalidInputError: Fields of the configuration, or tensors, are missing, unexpected or of a wrong
                shape; one message lists all of them.
        """
        self._tensors: TensorSource = checkpoint.tensors
        self._dtype = dtype
        self.config, self._entries = _plan(checkpoint)

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        tensor = self._tensors.load(entry.key)
        if entry.adapters:
            tensor = tensor.to(torch.float32)
            for adapter in entry.adapters:
                up = self._tensors.load(adapter.up).to(torch.float32)
                down = self._tensors.load(adapter.down).to(torch.float32)
                tensor[adapter.row : adapter.row + up.shape[0]].addmm_(up, down, alpha=adapter.scale)
        if entry.grid is not None:
            tensor = interpolate_pos_embed(tensor, entry.grid)
        return tensor if self._dtype is None else tensor.to(self._dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def shape(self, name: str) -> Shape:
        """Shape of the tensor that `[name]` returns, without reading it."""
        return self._entries[name].shape

    def source_dtype(self, name: str) -> torch.dtype:
        """Type in which the file holds the tensor, before merging."""
        return self._tensors.dtype(self._entries[name].key)

    @property
    def merged(self) -> tuple[str, ...]:
        """Canonical names of the matrices that low-rank adapters are merged into."""
        return tuple(name for name, entry in self._entries.items() if entry.adapters)


def derive_config(checkpoint: Checkpoint) -> ModelConfig:
    """Sizes of all parts of a checkpoint, from `config.json` and the shapes of its tensors.

    Raises:
        InvalidInputError: As for `ModelWeights`.
    """
    return _plan(checkpoint)[0]


def _plan(checkpoint: Checkpoint) -> tuple[ModelConfig, dict[str, Entry]]:
    settings = _Settings(checkpoint)
    problems = Problems()
    keys = _published_names(checkpoint.tensors, problems)
    builder = _Builder(checkpoint.tensors, keys, problems)
    decoder = _add_decoder(builder, settings)
    vision = _add_vision(builder, settings)
    connector = _add_connector(builder, vision.hidden if vision else None, decoder.hidden)
    problems.unexpected += [
        f"{keys[name]}: found {list(checkpoint.tensors.shape(keys[name]))}"
        for name in keys
        if name not in builder.used
    ]
    problems.raise_if_any(checkpoint)
    assert vision is not None and connector is not None  # otherwise a problem was recorded
    config = ModelConfig(vision, connector, decoder, settings.tied, settings.image_token)
    return config, builder.entries


def _published_names(tensors: TensorSource, problems: Problems) -> dict[str, str]:
    """Published name without optional prefixes, to the key in the file."""
    names: dict[str, str] = {}
    for key in tensors.keys():  # noqa: SIM118  (not a mapping)
        name = key.removeprefix("module.")
        if name.startswith("model.mm_projector."):
            name = name.removeprefix("model.")
        if _IGNORED.fullmatch(name):
            continue
        if name in names:
            problems.unexpected.append(f"{key}: means the same as {names[name]}")
            continue
        names[name] = key
    return names


class _Settings:
    """Fields of `config.json`, checked; every defect is in one message."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._config = checkpoint.config
        self._defects: list[str] = []
        hidden, heads = self._count("hidden_size"), self._count("num_attention_heads")
        kv_heads = self._count("num_key_value_heads", heads)
        head_dim = self._count("head_dim", hidden // heads)
        self.decoder = DecoderConfig(
            hidden=hidden,
            layers=self._count("num_hidden_layers"),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            intermediate=self._count("intermediate_size"),
            vocabulary=self._count("vocab_size"),
            rope_theta=self._positive("rope_theta", 10000.0),
            rms_norm_eps=self._positive("rms_norm_eps"),
            max_positions=self._count("max_position_embeddings"),
        )
        self.crop_size = self._count("crop_size", 224)
        self.num_patches = self._count("num_patches", 0)
        self.image_token = self._count("im_patch_token", 32000)
        self.tied = bool(self._config.get("tie_word_embeddings", False))
        self.llm_scale = self._adapter("llm")
        self.vision_scale = self._adapter("vision")
        if not self._defects:
            if heads % kv_heads:
                self._defects.append(
                    f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"
                )
            if "head_dim" not in self._config and hidden % heads:
                self._defects.append(f"hidden_size {hidden} is no multiple of num_attention_heads {heads}")
            if head_dim % 2:
                self._defects.append(f"head dimension {head_dim} is odd; rotary positions need an even one")
        for name, allowed in (
            ("hidden_act", (None, "silu")),
            ("rope_scaling", (None,)),
            ("attention_bias", (None, False)),
            ("mlp_bias", (None, False)),
        ):
            value = self._config.get(name)
            if value not in allowed:
                self._defects.append(f"{name} is {value!r}; only {allowed[-1]!r} is known for these families")
        if self._defects:
            raise InvalidInputError(
                f"[weights] expected {checkpoint.config_path} to describe a LocLLM or PoseLLM model; got: "
                f"{'; '.join(self._defects)}; use the config.json that belongs to the weights"
            )

    def _count(self, name: str, default: int | None = None) -> int:
        value: Any = self._config.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self._defects.append(f"{name} is {value!r}, not a positive whole number")
            return 1
        return value

    def _positive(self, name: str, default: float | None = None) -> float:
        value: Any = self._config.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
            self._defects.append(f"{name} is {value!r}, not a positive number")
            return 1.0
        return float(value)

    def _adapter(self, part: str) -> tuple[int, float]:
        """Rank and scale alpha / r. Whether adapters are enabled is not asked: their tensors decide."""
        rank = self._count(f"lora_{part}_r", 8)
        return rank, self._positive(f"lora_{part}_alpha", 16.0) / rank


class _Builder:
    """Collects entries, and compares what is expected with what is there."""

    def __init__(self, tensors: TensorSource, keys: Mapping[str, str], problems: Problems) -> None:
        self.tensors = tensors
        self.keys = keys
        self.problems = problems
        self.used: set[str] = set()
        self.entries: dict[str, Entry] = {}

    def shape(self, name: str) -> Shape | None:
        """Shape of a published tensor, or None where there is none."""
        return self.tensors.shape(self.keys[name]) if name in self.keys else None

    def check(self, name: str, shape: Shape) -> str | None:
        """Claims a published tensor; returns its key, or None after noting what is wrong."""
        self.used.add(name)
        if name not in self.keys:
            self.problems.missing.append(f"{name}: expected {list(shape)}")
            return None
        key = self.keys[name]
        found, dtype = self.tensors.shape(key), self.tensors.dtype(key)
        if found != shape:
            self.problems.wrong.append(f"{key}: found {list(found)}, expected {list(shape)}")
            return None
        if not dtype.is_floating_point:
            self.problems.wrong.append(f"{key}: found type {dtype}, expected a floating-point type")
            return None
        return key

    def add(self, canonical: str, name: str, shape: Shape) -> Entry | None:
        """Expects a published tensor and gives it its canonical name."""
        key = self.check(name, shape)
        if key is None:
            return None
        self.entries[canonical] = Entry(key, shape)
        return self.entries[canonical]

    def adapt(
        self, entry: Entry | None, row: int, rows: int, names: tuple[str, str], rank_scale: tuple[int, float]
    ) -> None:
        """Attaches the adapter `names = (A, B)` to `rows` rows of a matrix, if its tensors are there."""
        down_name, up_name = names
        if down_name not in self.keys and up_name not in self.keys:
            return
        rank, scale = rank_scale
        columns = entry.shape[1] if entry else (self.shape(down_name) or (rank, 0))[-1]
        down, up = self.check(down_name, (rank, columns)), self.check(up_name, (rows, rank))
        if entry and down and up:
            entry.adapters.append(Adapter(row, down, up, scale))


def _add_decoder(builder: _Builder, settings: _Settings) -> DecoderConfig:
    config = settings.decoder
    query, shared = config.heads * config.head_dim, config.kv_heads * config.head_dim
    table = (config.vocabulary, config.hidden)
    embedding = builder.add("decoder.embed_tokens.weight", "model.embed_tokens.weight", table)
    for index in range(config.layers):
        ours, theirs = f"decoder.layers.{index}.", f"model.layers.{index}."
        for part, shape in (
            ("self_attn.q_proj.weight", (query, config.hidden)),
            ("self_attn.k_proj.weight", (shared, config.hidden)),
            ("self_attn.v_proj.weight", (shared, config.hidden)),
            ("self_attn.o_proj.weight", (config.hidden, query)),
            ("mlp.gate_proj.weight", (config.intermediate, config.hidden)),
            ("mlp.up_proj.weight", (config.intermediate, config.hidden)),
            ("mlp.down_proj.weight", (config.hidden, config.intermediate)),
            ("input_layernorm.weight", (config.hidden,)),
            ("post_attention_layernorm.weight", (config.hidden,)),
        ):
            entry = builder.add(ours + part, theirs + part, shape)
            if part in ("self_attn.q_proj.weight", "self_attn.v_proj.weight"):
                stem = theirs + part.removesuffix("weight")
                names = (f"{stem}lora_A", f"{stem}lora_B")
                builder.adapt(entry, 0, shape[0], names, settings.llm_scale)
    builder.add("decoder.norm.weight", "model.norm.weight", (config.hidden,))
    if not settings.tied:
        builder.add("lm_head.weight", "lm_head.weight", table)
    else:
        if "lm_head.weight" in builder.keys:
            builder.check("lm_head.weight", table)  # some savers write the tied table twice
        if embedding:
            builder.entries["lm_head.weight"] = embedding
    return config


def _add_vision(builder: _Builder, settings: _Settings) -> VisionConfig | None:
    config = _vision_config(builder, settings)
    if config is None:
        return None
    hidden = config.hidden
    ours, theirs = "vision.", "vision_model."
    source = math.isqrt((builder.shape("vision_model.pos_embed") or (1, 2, hidden))[1] - 1)
    builder.add(f"{ours}cls_token", f"{theirs}cls_token", (1, 1, hidden))
    table = builder.add(f"{ours}pos_embed", f"{theirs}pos_embed", (1, 1 + source * source, hidden))
    if table:
        table.grid = config.grid
        table.shape = (1, 1 + config.patches, hidden)
    kernel = (hidden, 3, config.patch_size, config.patch_size)
    builder.add(f"{ours}patch_embed.weight", f"{theirs}patch_embed.proj.weight", kernel)
    builder.add(f"{ours}patch_embed.bias", f"{theirs}patch_embed.proj.bias", (hidden,))
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
            builder.adapt(
                fused, row, hidden, (f"{stem}A_{letter}", f"{stem}B_{letter}"), settings.vision_scale
            )
    builder.add(f"{ours}norm.weight", f"{theirs}norm.weight", (hidden,))
    builder.add(f"{ours}norm.bias", f"{theirs}norm.bias", (hidden,))
    return config


def _vision_config(builder: _Builder, settings: _Settings) -> VisionConfig | None:
    """Sizes of the encoder from tensor shapes; None after noting what keeps them from being read."""
    problems = builder.problems
    blocks = [
        int(match[1])
        for name in builder.keys
        if (match := re.match(r"vision_model\.blocks\.(\d+)\.", name)) is not None
    ]
    layers = 1 + max(blocks, default=0)
    kernel = builder.shape("vision_model.patch_embed.proj.weight")
    table = builder.shape("vision_model.pos_embed")
    fc1 = next(
        (s for i in range(layers) if (s := builder.shape(f"vision_model.blocks.{i}.mlp.fc1.weight"))), None
    )
    before = len(problems.missing) + len(problems.wrong)
    for name, shape, form, fits in (
        (
            "vision_model.patch_embed.proj.weight",
            kernel,
            f"[D, 3, p, p] with D a multiple of {HEAD_DIM} and p at most crop_size {settings.crop_size}",
            kernel is not None
            and len(kernel) == 4
            and kernel[1] == 3
            and kernel[2] == kernel[3] > 0
            and kernel[0] > 0
            and kernel[0] % HEAD_DIM == 0
            and kernel[2] <= settings.crop_size,
        ),
        (
            "vision_model.pos_embed",
            table,
            "[1, 1 + M*M, D]",
            table is not None
            and len(table) == 3
            and table[1] > 1
            and math.isqrt(table[1] - 1) ** 2 == table[1] - 1,
        ),
        ("vision_model.blocks.0.mlp.fc1.weight", fc1, "[mlp, D]", fc1 is not None and len(fc1) == 2),
    ):
        if shape is None:
            problems.missing.append(f"{name}: expected {form}")
        elif not fits:
            problems.wrong.append(f"{name}: found {list(shape)}, expected {form}")
    if len(problems.missing) + len(problems.wrong) > before or kernel is None or fc1 is None:
        builder.used.update(name for name in builder.keys if name.startswith("vision_model."))
        return None
    config = VisionConfig(
        image_size=settings.crop_size,
        patch_size=kernel[2],
        hidden=kernel[0],
        layers=layers,
        heads=kernel[0] // HEAD_DIM,
        mlp=fc1[0],
    )
    if settings.num_patches and settings.num_patches != config.patches:
        problems.wrong.append(
            f"vision_model.patch_embed.proj.weight: patches of {kernel[2]} px make {config.patches} of "
            f"crop_size {settings.crop_size}; config.json says num_patches {settings.num_patches}"
        )
    return config


def _add_connector(builder: _Builder, first: int | None, last: int) -> ConnectorConfig | None:
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
        builder.used.update(names)
        return None
    stems = ["mm_projector."] if plain else [f"mm_projector.{i}." for i in numbered]
    shapes = [builder.shape(f"{stem}weight") or () for stem in stems]
    odd = [(stem, shape) for stem, shape in zip(stems, shapes, strict=True) if len(shape) != 2]
    if odd:
        problems.wrong += [
            f"{builder.keys[f'{stem}weight']}: found {list(shape)}, expected [out, in] of a linear layer"
            for stem, shape in odd
        ]
        builder.used.update(names)
        return None
    dims = [first if first is not None else shapes[0][1], *(shape[0] for shape in shapes[:-1]), last]
    for index, stem in enumerate(stems):
        builder.add(f"connector.{index}.weight", f"{stem}weight", (dims[index + 1], dims[index]))
        builder.add(f"connector.{index}.bias", f"{stem}bias", (dims[index + 1],))
    return ConnectorConfig(tuple(dims))
