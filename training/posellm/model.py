# SPDX-License-Identifier: Apache-2.0
"""The modules of the exporter put together for training: new weights, packed questions, greedy answers.

Data and losses do not belong here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepose.export.models import ConnectorConfig, DecoderConfig, ModelConfig, PoseModel, VisionConfig
from edgepose.export.models.posellm import PoseConfig
from edgepose.training.posellm.questions import QuestionBook

__all__ = ["answer_logits", "greedy_answers", "initialise", "nano_config", "resize_positions"]


def nano_config(nano: Mapping[str, Any], vocabulary: int, *, size: int | None = None) -> PoseConfig:
    """Sizes of a compact model.

    Args:
        nano: What `edgepose.training.nano.load_nano` read.
        vocabulary: Pieces of the tokenizer.
        size: Side of the crop, if not that of the description, pixels.
    """
    vision, hidden = nano["vision"], nano["decoder"]["hidden"]
    inner = [nano["connector_hidden"]] if nano.get("connector_hidden") else []
    return ModelConfig(
        vision=VisionConfig(size or nano["crop_size"], nano["patch_size"], **vision),
        connector=ConnectorConfig((vision["hidden"], *inner, hidden)),
        decoder=DecoderConfig(vocabulary=vocabulary, **nano["decoder"]),
        image_token=vocabulary,
    )


def initialise(model: nn.Module, seed: int) -> None:
    """Fills a model with new weights; the same seed gives the same weights.

    Matrices are uniform with the variance of Glorot and Bengio (2010); those that write to a residual stream
    are divided by the square root of twice the layers, as GPT-2's. Tables have a standard deviation of 0.02,
    but for the position table, which begins with sines and cosines as loud as the patches are.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = {part: 1 + max(found) for part in ("vision", "decoder") if (found := _layers(model, part))}
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 2)
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.endswith("pos_embed"):
            nn.init.zeros_(parameter)
            parameter.data[:, 1:] = _waves(math.isqrt(parameter.shape[1] - 1), parameter.shape[2])
        elif name.endswith("gamma") or ("norm" in last[-2] if len(last) > 1 else False):
            nn.init.ones_(parameter)
        elif parameter.dim() == 3 or "embed_tokens" in name or "lm_head" in name:
            nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
        else:
            fan_in, fan_out = math.prod(parameter.shape[1:]), parameter.shape[0]
            fan_out = fan_out // 3 if name.endswith("qkv.weight") else fan_out
            bound = math.sqrt(6 / (fan_in + fan_out))
            if name.endswith(("attn.proj.weight", "fc2.weight", "o_proj.weight", "down_proj.weight")):
                bound /= math.sqrt(2 * layers[name.split(".")[0]])
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


def _waves(grid: int, hidden: int) -> Tensor:
    """(grid * grid, hidden) sines and cosines of column and row, each half of the channels, amplitude 0.5."""
    quarter = hidden // 4
    angles = torch.arange(grid)[:, None] * math.pi / grid * 2 ** torch.linspace(-1, math.log2(grid), quarter)
    line = torch.cat((angles.sin(), angles.cos()), dim=1)
    table = torch.cat((line.expand(grid, -1, -1), line[:, None].expand(-1, grid, -1)), dim=-1)
    return 0.5 * table.reshape(grid * grid, 4 * quarter)


def _layers(model: nn.Module, part: str) -> list[int]:
    names = [name.split(".") for name, _ in model.named_parameters() if name.startswith(f"{part}.")]
    return [int(name[2]) for name in names if name[1] in ("blocks", "layers")]


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Position table (1, 1 + M*M, hidden) of the encoder for another grid, by bicubic interpolation."""
    side = math.isqrt(table.shape[1] - 1)
    if side == grid:
        return table
    patches = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(patches, (grid, grid), mode="bicubic", align_corners=False)
    return torch.cat((table[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)


def _embed(model: PoseModel, book: QuestionBook, image: Tensor, ids: Tensor) -> Tensor:
    before = torch.tensor(book.before, device=ids.device).expand(len(ids), -1)
    table = model.decoder.embed_tokens
    return torch.cat((table(before), image.to(table.weight.dtype), table(ids)), dim=1)


def answer_logits(model: PoseModel, book: QuestionBook, image: Tensor, names: Tensor, ids: Tensor) -> Tensor:
    """Logits of the answers of packed questions.

    Args:
        model: The model.
        book: What made `ids`.
        image: (B, patches, hidden) image embeddings.
        names: (B, Q) numbers of the questions, -1 where a slot is empty.
        ids: (B, Q * slot) tokens behind the prefix.

    Returns:
        (B, Q, A + 1, vocabulary); entry `i` is what follows the `i`-th token of the answer's context.
    """
    count, slots = names.shape
    hidden, _ = model.decoder(
        _embed(model, book, image, ids),
        positions=book.positions(slots).expand(count, -1),
        allowed=book.allowed(slots),
    )
    hidden = hidden[:, book.prefix :].unflatten(1, (slots, book.slot))
    steps = torch.arange(len(book.form) + 1, device=ids.device)
    places = book.answer_starts[names.clamp(min=0)].unsqueeze(-1) + steps
    wanted = hidden.gather(2, places.unsqueeze(-1).expand(-1, -1, -1, hidden.shape[-1]))
    logits: Tensor = model.lm_head(wanted)
    return logits


@torch.no_grad()
def greedy_answers(model: PoseModel, book: QuestionBook, image: Tensor, names: Tensor) -> Tensor:
    """Coordinates (B, Q, 2) by constrained greedy decoding, the digits out of the digits alone.

    Every token is computed once: the prefix, then all questions side by side with what is certain of their
    answers, then digit by digit.
    """
    count, slots = names.shape
    device = names.device
    before = torch.empty((count, 0), dtype=torch.long, device=device)
    _, past = model.decoder(_embed(model, book, image, before))
    owner = torch.full((count, book.prefix), -1, device=device)
    ids, first = book.questions(names)
    chosen: list[Tensor] = []
    for begin, end in itertools.pairwise([0, *book.free.tolist()]):
        form = book.form[begin:end].expand(count, slots, -1).clone()
        if begin > 0:
            form[..., 0] = book.digits[chosen[-1]]
            ids, first = form, first + ids.shape[-1]
        else:
            ids = torch.cat((ids, form), -1)
        places = first.unsqueeze(-1) + torch.arange(ids.shape[-1], device=device)
        slot = torch.arange(slots, device=device)[None, :, None].expand_as(ids)
        new = slot.masked_fill(places < book.prefix, -2).flatten(1)  # what fills up a short question
        owner = torch.cat((owner, new), 1)
        seen = (owner[:, None] == -1) | (owner[:, None] == new[..., None])
        hidden, past = model.decoder(
            model.decoder.embed_tokens(ids.flatten(1)),
            positions=places.flatten(1),
            past=past,
            allowed=seen,
        )
        last = hidden.unflatten(1, (slots, ids.shape[-1]))[:, :, -1]
        chosen.append(model.lm_head(last)[..., book.digits].argmax(-1))
    return book.read(torch.stack(chosen, -1))
