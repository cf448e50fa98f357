# SPDX-License-Identifier: Apache-2.0
"""Sizes of the language model.

How it is run does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.manifest.checks import Check

__all__ = ["DecoderSpec"]


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """Sizes of the language model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float
    vocabulary: int
    """Rows of the embedding table and of the language model head."""
    max_positions: int
    """Longest sequence the model was made for, tokens."""
    rope_sections: tuple[int, ...] = ()
    """(3,) rotary frequencies that follow time, row and column of an image token (interleaved M-RoPE); empty
    where positions are one number."""
    deepstack: int = 0
    """First layers behind which further image features are added."""

    def check(self, check: Check) -> None:
        """Note what does not fit."""
        sizes = {"hidden": 1 << 16, "layers": 1024, "heads": 1024, "kv_heads": 1024, "head_dim": 4096}
        for name, largest in {**sizes, "vocabulary": 1 << 22, "max_positions": 1 << 22}.items():
            check.within(f"decoder.{name}", getattr(self, name), 1, largest)
        check.expect(self.rope_theta > 0, "decoder.rope_theta", "a number above 0", self.rope_theta)
        check.expect(self.head_dim % 2 == 0, "decoder.head_dim", "an even number", self.head_dim)
        check.expect(
            self.kv_heads > 0 and self.heads % self.kv_heads == 0,
            "decoder.kv_heads",
            f"a divisor of decoder.heads = {self.heads}",
            self.kv_heads,
        )
        sections = self.rope_sections
        check.expect(
            not sections
            or (len(sections) == 3 and min(sections) >= 0 and 2 * sum(sections) == self.head_dim),
            "decoder.rope_sections",
            f"three counts that sum to {self.head_dim // 2}, or none",
            sections,
        )
        check.within("decoder.deepstack", self.deepstack, 0, max(0, self.layers - 1))
