# SPDX-License-Identifier: Apache-2.0
"""The normalised form of Llama's tokenizers: a BPE with byte fallback that replaces " " by "▁" and no more.

Where vocabulary and merges come from does not belong here.
"""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers

__all__ = ["SPACE", "llama_bpe"]

SPACE = "▁"
"""What stands for a blank in pieces."""


def llama_bpe(
    vocabulary: dict[str, int], merges: list[tuple[str, ...]] | list[tuple[str, str]], unknown: str
) -> Tokenizer:
    """A tokenizer of the normalised form, without special tokens.

    Args:
        vocabulary: Piece to id.
        merges: Pairs of pieces, the first to be joined first.
        unknown: Piece of what has none; in the vocabulary.
    """
    pairs = [(left, right) for left, right in merges]
    model = models.BPE(vocab=vocabulary, merges=pairs, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer
