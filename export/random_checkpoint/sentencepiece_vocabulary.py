# SPDX-License-Identifier: Apache-2.0
"""Trains small SentencePiece models of Llama's structure, and writes the settings beside them.

Reading such models does not belong here: see `edgepose.export.tokenizer`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sentencepiece

from edgepose.export.random_checkpoint.layout import write_json
from edgepose.export.tokenizer import parse_sentencepiece

__all__ = ["train_pieces", "train_tokenizer", "write_tokenizer_settings"]


def train_pieces(sentences: Iterator[str], *, pieces: int, **options: Any) -> Any:
    """Trains a model of Llama's structure: BPE with byte fallback, every digit a piece.

    Ids 0, 1, 2 are `<unk>`, `<s>`, `</s>`, then follow 256 bytes. The same sentences give the same model.

    Args:
        sentences: What to learn pieces from.
        pieces: How many, at most.
        options: Further ones of SentencePiece's trainer.

    Returns:
        SentencePiece's `ModelProto`.
    """
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_writer=written,
        model_type="bpe",
        vocab_size=pieces,
        hard_vocab_limit=False,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return parse_sentencepiece(written.getvalue())


def write_tokenizer_settings(folder: Path, pieces: int, *, legacy: bool = False) -> None:
    """Writes what lies beside a published `tokenizer.model` of so many pieces."""
    write_json(folder / "added_tokens.json", {"<im_patch>": pieces})
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "legacy": legacy,
            "model_max_length": 2048,
            "pad_token": "<unk>",
            "padding_side": "left",
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
        },
    )


def train_tokenizer(path: str | os.PathLike[str], *, vocabulary: int | None = None) -> Path:
    """Trains a tiny model on a corpus of our own; `▁[` is one piece. See `train_pieces`.

    Args:
        path: File to write.
        vocabulary: Pieces in all; the model is filled up with pieces that no text yields. Default: no
            filling.

    Returns:
        The path.
    """
    model = train_pieces(_sentences(), pieces=480)
    for number in range(len(model.pieces), vocabulary or 0):
        model.pieces.add(piece=f"<filler_{number}>", score=-float(number))
    file = Path(path)
    file.write_bytes(model.SerializeToString())
    return file


def _sentences() -> Iterator[str]:
    """A small corpus of our own: prompts and answers of the kind the models see."""
    parts = "nose,eye,ear,shoulder,elbow,wrist,hip,knee,ankle,neck,torso,pelvis,toe,thorax,head_top".split(
        ","
    )
    for number, part in enumerate(parts * 6):
        side = ("left", "right")[number % 2]
        yield "Image:"
        yield f"Keypoint: The {side} {part} of the person, at the end of the {side} arm or leg, near the hip."
        yield (
            f"Question: Where is the {side} {part} of this person in this image? "
            "Please provide its coordinates."
        )
        yield f"Answer: [0.{(number * 37) % 1000:03d},0.{(number * 91) % 1000:03d}]"
        yield f"[INST] <<SYS>> Image: <</SYS>> Which point is the {side} {part}? [/INST]"
    yield "The quick brown fox jumps over the lazy dog; (SPHINX OF BLACK QUARTZ, JUDGE MY VOW)"
    yield "+ - * / ' \" ! # % & = @ < > { } ~ ^ | $ _"
