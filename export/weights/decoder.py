# SPDX-License-Identifier: Apache-2.0
"""The tensors of a Llama decoder and its head, under whatever prefix they are published.

Vision encoders and connectors do not belong here.
"""

from __future__ import annotations

from edgepose.export.models.llama import DecoderConfig
from edgepose.export.weights.plan import PlanBuilder
from edgepose.export.weights.settings import Settings

__all__ = ["add_decoder", "check_heads"]

_ADAPTED = ("self_attn.q_proj.weight", "self_attn.v_proj.weight")
"""Matrices that may carry an adapter."""


def add_decoder(
    builder: PlanBuilder,
    config: DecoderConfig,
    *,
    prefix: str,
    tied_head: bool,
    adapter: tuple[int, float] | None = None,
) -> None:
    """Expects embedding table, layers, norm and head.

    Args:
        builder: Gets the entries, `decoder.*` and `lm_head.weight`.
        config: Sizes.
        prefix: What stands before `embed_tokens`, `layers` and `norm` in published names.
        tied_head: Whether the head is the embedding table.
        adapter: Rank and scale of adapters of queries and values; None where adapters are not known.
    """
    query, shared = config.heads * config.head_dim, config.kv_heads * config.head_dim
    table = (config.vocabulary, config.hidden)
    embedding = builder.add("decoder.embed_tokens.weight", f"{prefix}embed_tokens.weight", table)
    head_norms = (
        ("self_attn.q_norm.weight", (config.head_dim,)),
        ("self_attn.k_norm.weight", (config.head_dim,)),
    )
    parts: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("self_attn.q_proj.weight", (query, config.hidden)),
        ("self_attn.k_proj.weight", (shared, config.hidden)),
        ("self_attn.v_proj.weight", (shared, config.hidden)),
        ("self_attn.o_proj.weight", (config.hidden, query)),
        *(head_norms if config.qk_norm else ()),
        ("mlp.gate_proj.weight", (config.intermediate, config.hidden)),
        ("mlp.up_proj.weight", (config.intermediate, config.hidden)),
        ("mlp.down_proj.weight", (config.hidden, config.intermediate)),
        ("input_layernorm.weight", (config.hidden,)),
        ("post_attention_layernorm.weight", (config.hidden,)),
    )
    for index in range(config.layers):
        ours, theirs = f"decoder.layers.{index}.", f"{prefix}layers.{index}."
        for part, shape in parts:
            entry = builder.add(ours + part, theirs + part, shape)
            if adapter is not None and part in _ADAPTED:
                stem = theirs + part.removesuffix("weight")
                builder.adapt(entry, 0, shape[0], (f"{stem}lora_A", f"{stem}lora_B"), adapter)
    builder.add("decoder.norm.weight", f"{prefix}norm.weight", (config.hidden,))
    if not tied_head:
        builder.add("lm_head.weight", "lm_head.weight", table)
    else:
        if "lm_head.weight" in builder.keys:
            builder.check("lm_head.weight", table)  # some savers write the tied table twice
        if embedding:
            builder.entries["lm_head.weight"] = embedding


def check_heads(settings: Settings, config: DecoderConfig) -> None:
    """Notes sizes of heads that contradict each other; only of use where no field was wrong so far."""
    defects, heads = settings.defects, config.heads
    if heads % config.kv_heads:
        defects.append(f"num_attention_heads {heads} is no multiple of num_key_value_heads {config.kv_heads}")
    if "head_dim" not in settings.fields and config.hidden % heads:
        defects.append(f"hidden_size {config.hidden} is no multiple of num_attention_heads {heads}")
    if config.head_dim % 2:
        defects.append(f"head dimension {config.head_dim} is odd; rotary positions need an even one")
