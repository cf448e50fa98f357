# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention, computed in the way that is fast for what is at hand.

Heads, caches and masks' meaning belong to the models.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["attend"]


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Mixes values: `softmax(query key^T / sqrt(head_dim)) value`.

    Args:
        query: (N, heads, T, head_dim).
        key: (N, heads, S, head_dim).
        value: (N, heads, S, head_dim).
        allowed: bool, broadcast to (N, heads, T, S), true where a query may see a key; default: everywhere.
            Each query sees one key at least.

    Returns:
        (N, heads, T, head_dim).
    """
    if query.requires_grad and query.device.type == "cpu":
        # PyTorch's fused kernel takes several times as long as plain products for sequences of a few hundred,
        # most of it in the backward pass.
        query = query.to(value.dtype) * query.shape[-1] ** -0.5
        scores = query @ key.to(value.dtype).transpose(-1, -2)
        if allowed is not None:
            lowest = torch.finfo(scores.dtype).min
            scores = scores + scores.new_zeros(()).expand(allowed.shape).masked_fill(~allowed, lowest)
        return scores.softmax(-1).to(value.dtype) @ value
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
