# SPDX-License-Identifier: Apache-2.0
"""Bytes and text of byte-level tokens, against the `tokenizers` library."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from edgepose.token_bytes import TokenBytes

SPECIAL = ("<|im_end|>", "<0>", "<999>", "<|left_wrist|>", "ſ pace")


def make_tokenizer() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["where is the left wrist, the right wrist, ünïcödé 手"] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return tokenizer


TOKENIZER = make_tokenizer()
TOKENS = TokenBytes(TOKENIZER)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_what_was_encoded_comes_back(text: str) -> None:
    ids = TOKENIZER.encode(text).ids
    assert TOKENS.text(ids) == text
    assert b"".join(TOKENS.pieces(ids)) == text.encode()


@given(st.lists(st.integers(0, 255 + 40), max_size=20))
def test_any_plain_tokens_read_as_the_library_reads_them(ids: list[int]) -> None:
    known = [number for number in ids if number < TOKENIZER.get_vocab_size() - len(SPECIAL)]
    assert TOKENS.text(known) == TOKENIZER.decode(known, skip_special_tokens=False)


@pytest.mark.parametrize("text", SPECIAL)
def test_special_tokens_are_written_out(text: str) -> None:
    number = TOKENIZER.token_to_id(text)
    assert TOKENS.pieces([number]) == [text.encode()]
    assert TOKENS.text([number]) == TOKENIZER.decode([number], skip_special_tokens=False) == text


def test_unknown_ids_write_nothing() -> None:
    assert TOKENS.pieces([10**6]) == [b""]
