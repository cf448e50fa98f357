# SPDX-License-Identifier: Apache-2.0
"""First weights of a model that nobody has pre-trained, chosen so that it learns from few frames.

Files do not belong here, nor does anything that is learnt.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgepose.export.models.llama import DecoderAttention
from edgepose.export.models.qwen3_vl import GridAttention, GridVisionConfig
from edgepose.training.taihri.language import Language
from edgepose.training.taihri.model import TaihriModel

__all__ = ["bin_table", "cosine_patches", "initialise", "place_table"]

_EMBEDDING = 0.08
"""Standard deviation of token embeddings, which are the head too."""
_ALIKE = 0.7
"""Correlation of the decoder's queries with its keys."""
_BESIDE = 14.0
"""Square of the biases that make heads of the encoder look at a neighbour."""
_PLACE = 0.3
"""Standard deviation of the position table."""


@torch.no_grad()
def initialise(model: TaihriModel, language: Language, seed: int) -> None:
    """Fills a model with first weights, in place.

    Linear layers are normal and keep variance; those that write to the residual stream are smaller the more
    of them there are. All heads of the encoder's layers but one look at a patch beside their own, as
    convolutions do. Patches start as cosine transforms, large enough to be seen beside the places, which
    start as sines; bins of neighbouring numbers start as neighbours.

    Args:
        model: Of any weights.
        language: Which tokens are bins.
        seed: The same seed gives the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            layers = config.vision.layers if name.startswith("vision") else config.decoder.layers
            writes = name.endswith(("attn.proj", "mlp.fc2", "o_proj", "down_proj"))
            scale = 1 / math.sqrt(2 * layers) if writes else 1.0
            module.weight.normal_(0.0, scale / math.sqrt(module.in_features), generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif type(module).__name__ == "RmsNorm":
            nn.init.ones_(module.get_parameter("weight"))
    for module in model.modules():
        if isinstance(module, DecoderAttention):
            _look_for_alike(module, generator)
        elif isinstance(module, GridAttention):
            _look_beside(module, config.vision, generator)
    model.vision.patch_embed.weight.copy_(cosine_patches(config.vision))
    model.vision.pos_embed.weight.copy_(place_table(config.vision.table_side, config.vision.hidden) * _PLACE)
    table = model.decoder.embed_tokens.weight
    table.normal_(0.0, _EMBEDDING, generator=generator)
    bins = torch.tensor(language.codec.bins)
    table[bins] = bin_table(len(bins), table.shape[1], generator) * _EMBEDDING
    if not config.tied_head:
        model.lm_head.weight.copy_(table)


def cosine_patches(config: GridVisionConfig) -> Tensor:
    """(hidden, 3 * patch_size**2): each channel one wave of a cosine transform of the patch.

    The lowest waves come first: of brightness five eighths of the channels, the rest of two differences.
    Higher waves are amplified, about as much as pictures have less of them, so that channels have a
    variance of about 1 over pictures.
    """
    side, hidden = config.patch_size, config.hidden
    steps = (torch.arange(side, dtype=torch.float64) + 0.5) * math.pi / side
    waves = torch.cos(torch.arange(side, dtype=torch.float64)[:, None] * steps) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    heights, widths = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    lengths = (heights**2 + widths**2).double().sqrt().flatten()
    order = lengths.argsort(stable=True)
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]], dtype=torch.float64)
    colours /= colours.norm(dim=1, keepdim=True)
    differences = 3 * hidden // 16
    found = []
    for colour, count in zip(colours, (hidden - 2 * differences, differences, differences), strict=True):
        for place in order.repeat(1 + count // side**2)[:count].tolist():
            wave = waves[place // side][:, None] * waves[place % side][None, :]
            gain = min(6.0, 0.6 * (1 + 1.5 * float(lengths[place])))
            found.append(gain * colour[:, None, None] * wave)
    return torch.stack(found).flatten(1).float()


def place_table(side: int, hidden: int) -> Tensor:
    """(side**2, hidden): sines and cosines of the row and of the column, variance about 1."""
    count = hidden // 4
    share = torch.arange(side, dtype=torch.float64) / max(1, side - 1)
    frequencies = torch.logspace(math.log10(0.5), math.log10(side / 2), count, dtype=torch.float64)
    angles = 2 * math.pi * share[:, None] * frequencies
    axis = torch.cat((angles.sin(), angles.cos()), dim=1) * math.sqrt(2)
    rows = axis[:, None].expand(side, side, -1)
    columns = axis[None].expand(side, side, -1)
    table = torch.zeros(side, side, hidden, dtype=torch.float64)
    table[..., : 4 * count] = torch.cat((rows, columns), dim=-1)
    return table.flatten(0, 1).float()


def bin_table(bins: int, hidden: int, generator: torch.Generator) -> Tensor:
    """(bins, hidden): waves over the numbers in random directions, long ones larger, variance about 1."""
    count = hidden // 2
    share = torch.arange(bins) / (bins - 1)
    frequencies = torch.logspace(math.log10(0.25), math.log10(bins / 16), count)
    angles = 2 * math.pi * (share[:, None] * frequencies + torch.rand(count, generator=generator))
    waves = torch.cat((angles.sin(), angles.cos()), dim=1) * (1 + frequencies).rsqrt().repeat(2)
    turn = torch.linalg.qr(torch.randn(2 * count, hidden, generator=generator))[0]
    table: Tensor = waves @ turn
    return table / table.std()


def _look_beside(attention: GridAttention, config: GridVisionConfig, generator: torch.Generator) -> None:
    """Biases of queries and keys whose rotary positions agree where a key is one step off in some direction.

    Inspired by convolutional first weights of transformers (arXiv 2404.01139); here positions do it.
    """
    width, hidden = config.head_dim, config.hidden
    steps = torch.arange(0, width // 2, 2, dtype=torch.float32) / (width // 2)
    frequencies = config.rope_theta**-steps
    attention.qkv.weight[: 2 * hidden] *= math.sqrt(0.5)
    for head in range(1, config.heads):
        down, right = (torch.randint(3, (2,), generator=generator) - 1).tolist()
        angles = torch.cat((down * frequencies, right * frequencies))
        rows = slice(head * width, (head + 1) * width)
        root = math.sqrt(_BESIDE)
        attention.qkv.bias[rows] = torch.cat((torch.ones(width // 2), torch.zeros(width // 2))) * root
        attention.qkv.bias[hidden:][rows] = torch.cat((angles.cos(), -angles.sin())) * root


def _look_for_alike(attention: DecoderAttention, generator: torch.Generator) -> None:
    """Queries that agree with keys where hidden states do: names of joints find their rows."""
    config = attention.config
    key = attention.k_proj.weight
    wide = key.view(config.kv_heads, 1, config.head_dim, config.hidden).expand(
        -1, config.heads // config.kv_heads, -1, -1
    )
    noise = torch.empty_like(attention.q_proj.weight).normal_(
        0.0, 1 / math.sqrt(config.hidden), generator=generator
    )
    attention.q_proj.weight.copy_(_ALIKE * wide.reshape(noise.shape) + math.sqrt(1 - _ALIKE**2) * noise)
