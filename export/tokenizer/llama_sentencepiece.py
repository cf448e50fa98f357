# SPDX-License-Identifier: Apache-2.0
"""Reads SentencePiece models of Llama's structure into the normalised form.

What a configuration adds does not belong here: see `llama`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edgepose.errors import InvalidInputError
from edgepose.export.tokenizer.llama_bpe import llama_bpe

__all__ = ["parse_sentencepiece", "tokenizer_from_sentencepiece"]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # SentencePiece's piece types


def parse_sentencepiece(data: bytes, path: Path | None = None) -> Any:
    """Parses a SentencePiece model.

    Args:
        data: The serialised model.
        path: Where it was read from, for messages.

    Returns:
        The `ModelProto` message, with `pieces`, `normalizer_spec` and `trainer_spec`.

    Raises:
        InvalidInputError: The bytes are no SentencePiece model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2
    try:
        parsed = model.ModelProto.FromString(data)
    except DecodeError as error:
        parsed = None
        cause: BaseException | None = error
    else:
        cause = None
    if parsed is None or not parsed.pieces:
        raise InvalidInputError(
            f"[tokenizer] expected {path or 'the data'} to be a SentencePiece model; got {len(data)} bytes "
            "that do not parse as one; download the file again (a Git LFS pointer of some 130 bytes is not "
            "the file)"
        ) from cause
    return parsed


def tokenizer_from_sentencepiece(path: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.model`.

    Raises:
        InvalidInputError: The file is no SentencePiece model, or not of Llama's form.
    """
    model = parse_sentencepiece(path.read_bytes(), path)
    defects = []
    if model.trainer_spec.model_type != 2:  # BPE
        defects.append(f"model type {model.trainer_spec.model_type}, not BPE (2)")
    if not model.trainer_spec.byte_fallback:
        defects.append("no byte fallback")
    if model.normalizer_spec.precompiled_charsmap or model.normalizer_spec.remove_extra_whitespaces:
        defects.append(f"text normalisation {model.normalizer_spec.name!r}")
    if model.trainer_spec.treat_whitespace_as_suffix:
        defects.append("blanks as suffixes")
    user_defined = [p.piece for p in model.pieces if p.type == _USER_DEFINED]
    if user_defined:
        defects.append(f"user-defined symbols {', '.join(user_defined[:5])}")
    if defects:
        raise InvalidInputError(
            f"[tokenizer] expected {path} to be a SentencePiece model of Llama's form (BPE with byte "
            f"fallback and without normalisation); got {'; '.join(defects)}; use a checkpoint with a "
            "tokenizer of the Llama family"
        )
    vocabulary = {piece.piece: number for number, piece in enumerate(model.pieces)}
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == _NORMAL}
    unknown = next((piece.piece for piece in model.pieces if piece.type == _UNKNOWN), "<unk>")
    return llama_bpe(vocabulary, _merges(vocabulary, scores), unknown)


def _merges(vocabulary: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every split of a piece into two pieces, the best-scored results first.

    SentencePiece joins the neighbours whose union scores highest; BPE by rank joins the first pair of this
    list. Splits of one piece share a score, so their order among each other is free.
    """
    ranked = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in scores and right in scores:
                ranked.append((-score, vocabulary[piece], vocabulary[left], vocabulary[right], left, right))
    ranked.sort()
    return [(left, right) for *_, left, right in ranked]
