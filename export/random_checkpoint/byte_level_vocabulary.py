# SPDX-License-Identifier: Apache-2.0
"""Trains a tiny byte-level BPE of Qwen's structure, with the tokens that TAIHRI adds.

Reading such tokenizers does not belong here: see `edgepose.export.tokenizer`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

__all__ = ["BINS", "JOINTS", "KEYPOINT_MARKERS", "STOCK_MARKERS", "train_byte_level_tokenizer"]

STOCK_MARKERS = tuple(
    f"<|{name}|>"
    for name in (
        "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end "
        "vision_start vision_end vision_pad image_pad video_pad"
    ).split()
)
"""In the order of their ids."""

BINS = tuple(f"<{number}>" for number in range(1000))

JOINTS = tuple(
    f"<|{name}|>"
    for name in (
        "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 "
        "left_foot right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow "
        "right_elbow left_wrist right_wrist"
    ).split()
)

KEYPOINT_MARKERS = tuple(f"<|{name}|>" for name in "kpt2d_start kpt2d_end kpt3d_start kpt3d_end".split())

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""How Qwen2's tokenizer cuts texts before anything is joined. Source: its published `tokenizer.json`."""


def train_byte_level_tokenizer(
    path: str | os.PathLike[str],
    *,
    merges: int = 160,
    added: Sequence[str] | None = None,
    sentences: Iterable[str] | None = None,
) -> Tokenizer:
    """Trains a tokenizer on a small corpus and writes it as `tokenizer.json`.

    Ids 0 to 255 are bytes, then follow what was joined, the stock markers, bins, joints, keypoint markers.

    Args:
        path: File to write.
        merges: Tokens of several bytes, at most.
        added: Added tokens in order of their ids; default: all of the constants above.
        sentences: The corpus; default: a few dozen sentences of our own.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + merges, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(_sentences() if sentences is None else sentences, trainer)
    texts = (*STOCK_MARKERS, *BINS, *JOINTS, *KEYPOINT_MARKERS) if added is None else added
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in texts])
    tokenizer.save(os.fspath(path), pretty=False)
    return tokenizer


def _sentences() -> Iterator[str]:
    """What people ask robots, in our own words."""
    names = [text.strip("<|>") for text in JOINTS]
    for first, second in itertools.pairwise(names):
        yield f"Where are the {first.replace('_', ' ')} and the {second.replace('_', ' ')} of this person?"
        yield f"Can you provide the coordinates of the following keypoints: {first}, {second}?"
        yield f"Please touch the {second.replace('_', ' ')} and then shake the {first.replace('_', ' ')}."
    yield "You are a helpful assistant"
    yield "Give the person in front of you a hug, then take the cup out of her left hand."
    yield "system\nuser\nassistant\n"
