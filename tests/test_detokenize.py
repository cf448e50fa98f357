# SPDX-License-Identifier: Apache-2.0
"""Text of tokens, against SentencePiece."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.bundle import Bundle
from edgepose.detokenize import Detokenizer, clean_up_spaces

BUNDLE = Path(__file__).parent / "data" / "bundle_v1"
TOKENIZER = Bundle.open(BUNDLE).tokenizer
DETOKENIZE = Detokenizer(TOKENIZER)


def ids(*pieces: str) -> list[int]:
    return [TOKENIZER.token_to_id(piece) for piece in pieces]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("▁[", "0", ".", "5"), "[0.5"),
        (("<s>", "1", "</s>", "<unk>"), "1"),
        (("8", "<0x00>", "<0x9F>", "9"), "8\x00\ufffd9"),
        (("<0xC3>", "<0xB8>"), "ø"),
        (("<0xE2>", "<0x82>", "0"), "\ufffd\ufffd0"),
    ],
)
def test_known_texts(pieces: tuple[str, ...], text: str) -> None:
    assert DETOKENIZE(ids(*pieces)) == text


@settings(max_examples=200)
@given(st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"]), max_size=30))
def test_what_was_encoded_comes_back(text: str) -> None:
    encoded = TOKENIZER.encode(" " + text, add_special_tokens=False).ids
    assert DETOKENIZE(encoded) == text


def test_any_tokens_read_as_sentencepiece_reads_them(shared_data: Path) -> None:
    pytest.importorskip("torch")
    sentencepiece = pytest.importorskip("sentencepiece")
    from edgepose.export.tokenizer import load_tokenizer

    model = shared_data / "llama2_tokenizer.model"
    llama = load_tokenizer_from(model, load_tokenizer)
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(model))
    detokenize = Detokenizer(llama)
    random = np.random.default_rng(5)
    for _ in range(500):
        # Half of them bytes (ids 3 to 258), since that is where decoders differ.
        tokens = np.where(random.random(8) < 0.5, random.integers(3, 259, 8), random.integers(259, 32000, 8))
        assert detokenize(tokens.tolist()) == oracle.decode(tokens.tolist())


def load_tokenizer_from(model: Path, load: Callable[..., Any]) -> Any:
    """The normalised tokenizer of a bare SentencePiece file."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(model, Path(folder) / "tokenizer.model")
        return load(folder, config={}).tokenizer


@pytest.mark.parametrize(
    ("before", "after"), [("a , b . c", "a, b. c"), ("it 's n't", "it'sn't"), (" [0.5,0.5]", " [0.5,0.5]")]
)
def test_clean_up_spaces(before: str, after: str) -> None:
    assert clean_up_spaces(before) == after
