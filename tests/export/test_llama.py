# SPDX-License-Identifier: Apache-2.0
"""The decoder against the one of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgepose.export.models.llama import Decoder, DecoderConfig, rotary_table

transformers = pytest.importorskip("transformers")

CONFIG = DecoderConfig(
    hidden=64,
    layers=3,
    heads=8,
    kv_heads=2,
    head_dim=8,
    intermediate=96,
    vocabulary=50,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    max_positions=128,
)


def models(**changes: Any) -> tuple[Decoder, nn.Linear, Any]:
    """Our decoder and head, and theirs with the same random weights."""
    settings: dict[str, Any] = {
        "hidden_size": CONFIG.hidden,
        "num_hidden_layers": CONFIG.layers,
        "num_attention_heads": CONFIG.heads,
        "num_key_value_heads": CONFIG.kv_heads,
        "intermediate_size": CONFIG.intermediate,
        "vocab_size": CONFIG.vocabulary,
        "rms_norm_eps": CONFIG.rms_norm_eps,
        "max_position_embeddings": CONFIG.max_positions,
        "attn_implementation": "eager",
    }
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**(settings | changes))).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    ours = Decoder(CONFIG).eval()
    ours.load_state_dict(theirs.model.state_dict())
    head = nn.Linear(CONFIG.hidden, CONFIG.vocabulary, bias=False)
    head.load_state_dict(theirs.lm_head.state_dict())
    return ours, head, theirs


@torch.no_grad()
def test_agrees_with_transformers_over_a_prefill_and_steps() -> None:
    ours, head, theirs = models()
    ids = torch.randint(CONFIG.vocabulary, (3, 12), generator=torch.Generator().manual_seed(4))
    mask = torch.ones(3, 12, dtype=torch.int64)
    mask[0, :5] = 0  # left padding
    mask[1, :1] = 0
    past, their_past = None, None
    for start, stop in ((0, 8), (8, 9), (9, 12)):
        positions = (mask[:, :stop].cumsum(1) - 1).masked_fill(mask[:, :stop] == 0, 1)[:, start:stop]
        hidden, past = ours(
            ours.embed_tokens(ids[:, start:stop]), positions=positions, mask=mask[:, :stop], past=past
        )
        reply = theirs(
            input_ids=ids[:, start:stop],
            attention_mask=mask[:, :stop],
            position_ids=positions,
            past_key_values=their_past,
            use_cache=True,
        )
        their_past = reply.past_key_values
        seen = mask[:, start:stop] == 1
        torch.testing.assert_close(head(hidden)[seen], reply.logits[seen], rtol=1e-4, atol=1e-4)
        assert past[0][0].shape == (3, CONFIG.kv_heads, stop, CONFIG.head_dim)


@torch.no_grad()
def test_takes_any_positions() -> None:
    ours, head, theirs = models()
    ids = torch.randint(CONFIG.vocabulary, (1, 6), generator=torch.Generator().manual_seed(5))
    positions = torch.tensor([[7, 3, 50, 0, 4, 90]])
    hidden, _ = ours(ours.embed_tokens(ids), positions=positions)
    expected = theirs(input_ids=ids, position_ids=positions).logits
    torch.testing.assert_close(head(hidden), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_positions_and_mask_default_to_an_unpadded_sequence() -> None:
    ours, _, _ = models()
    embeddings = torch.randn(2, 7, CONFIG.hidden, generator=torch.Generator().manual_seed(6))
    whole, _ = ours(embeddings)
    first, past = ours(embeddings[:, :4])
    rest, _ = ours(embeddings[:, 4:], past=past)
    torch.testing.assert_close(torch.cat((first, rest), dim=1), whole, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_padding_never_becomes_nan_nor_reaches_other_tokens() -> None:
    ours, _, _ = models()
    embeddings = torch.randn(1, 5, CONFIG.hidden, generator=torch.Generator().manual_seed(7))
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    positions = torch.tensor([[1, 1, 0, 1, 2]])
    padded, _ = ours(embeddings, positions=positions, mask=mask)
    alone, _ = ours(embeddings[:, 2:])
    assert torch.isfinite(padded).all()
    torch.testing.assert_close(padded[:, 2:], alone, rtol=1e-5, atol=1e-5)


def test_rotary_table_repeats_the_angles_in_both_halves() -> None:
    cos, sin = rotary_table(torch.tensor([[0, 3]]), 8, 100.0)
    assert cos.shape == sin.shape == (1, 2, 8)
    torch.testing.assert_close(cos[..., :4], cos[..., 4:])
    torch.testing.assert_close(sin[0, 1, :4], torch.sin(3.0 / 100.0 ** (torch.arange(4) / 4)))


def test_rotary_table_with_sections_takes_each_frequency_from_its_axis() -> None:
    positions = torch.tensor([[[5, 2]], [[7, 2]], [[11, 2]]])  # time, row, column
    cos, _ = rotary_table(positions, 16, 100.0, (4, 2, 2))
    assert cos.shape == (1, 2, 16)
    places = torch.tensor([5.0, 7.0, 11.0, 5.0, 7.0, 11.0, 5.0, 5.0])
    expected = torch.cos(places / 100.0 ** (torch.arange(8) / 8))
    torch.testing.assert_close(cos[0, 0], expected.repeat(2))
    text, _ = rotary_table(positions[0], 16, 100.0)
    torch.testing.assert_close(cos[0, 1], text[0, 1])
