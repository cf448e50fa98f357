# SPDX-License-Identifier: Apache-2.0
"""The normalised tokenizer against SentencePiece itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepose.errors import InvalidInputError
from edgepose.export.random_checkpoint import train_tokenizer
from edgepose.export.tokenizer import load_tokenizer, parse_sentencepiece

from .sentencepiece_oracle import Oracle, Pair

COORDINATES = " [0.512,0.334]"
PROMPT_WORDS = [
    "Image:",
    "Keypoint",
    ": ",
    "\n",
    "left",
    " wrist",
    "<s>",
    "</s>",
    "[INST]",
    " ",
    "  ",
    "▁",
    "0.123",
    "é",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("tiny")
    model = train_tokenizer(folder / "tokenizer.model")
    return load_tokenizer(folder), Oracle(model)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Pair:
    folder = tmp_path_factory.mktemp("llama")
    shutil.copyfile(shared_data / "llama2_tokenizer.model", folder / "tokenizer.model")
    return load_tokenizer(folder), Oracle(folder / "tokenizer.model")


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(PROMPT_WORDS),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    ),
    max_size=12,
).map("".join)


def check_encoding(pair: Pair, text: str) -> None:
    source, oracle = pair
    assert source.encode(text) == oracle.exact.encode(text)
    if text:
        assert source.encode(f" {text}") == oracle.plain.encode(text)


def check_decoding(pair: Pair, ids: list[int]) -> None:
    source, oracle = pair
    kept = [i for i in ids if i not in (source.unknown, source.begin, source.end)]
    expected = oracle.plain.decode(kept)
    assert source.decode(ids) == expected
    if "\ufffd" not in expected:  # the library's decoder gives up more than the broken byte
        assert source.tokenizer.decode(ids, skip_special_tokens=True).lstrip() == expected.lstrip()


@given(text=TEXTS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tiny_encodes_as_sentencepiece(tiny: Pair, text: str) -> None:
    check_encoding(tiny, text)


@given(text=TEXTS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_llama_encodes_as_sentencepiece(llama: Pair, text: str) -> None:
    check_encoding(llama, text)


@given(ids=st.lists(st.integers(0, 479), max_size=14))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tiny_decodes_as_sentencepiece(tiny: Pair, ids: list[int]) -> None:
    check_decoding(tiny, ids)


@given(ids=st.lists(st.one_of(st.integers(0, 300), st.integers(0, 31999)), max_size=14))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_llama_decodes_as_sentencepiece(llama: Pair, ids: list[int]) -> None:
    check_decoding(llama, ids)


@pytest.mark.parametrize("blanks", range(1, 33))
def test_runs_of_blanks(llama: Pair, blanks: int) -> None:
    check_encoding(llama, " " * blanks)
    check_encoding(llama, "left" + " " * blanks + "wrist")


def test_coordinates_are_the_published_tokens(llama: Pair) -> None:
    source, _ = llama
    expected = [518, 29900, 29889, 29945, 29896, 29906, 29892, 29900, 29889, 29941, 29941, 29946, 29962]
    assert source.encode(COORDINATES) == expected
    assert source.decode(expected) == COORDINATES.strip()
    digits = [29900, 29896, 29906, 29941, 29946, 29945, 29953, 29955, 29947, 29929]
    assert [source.require(digit) for digit in "0123456789"] == digits
    assert [source.require(token) for token in ("▁[", ".", ",", "]")] == [518, 29889, 29892, 29962]


def test_coordinates_are_thirteen_tokens_of_the_tiny_tokenizer(tiny: Pair) -> None:
    source, _ = tiny
    tokens = [source.tokenizer.id_to_token(i) for i in source.encode(COORDINATES)]
    assert tokens == ["▁[", *"0.512,0.334]"]
    with pytest.raises(InvalidInputError, match="expected .* to hold the token 'missing'"):
        source.require("missing")


def test_special_tokens_are_not_found_in_text(tiny: Pair) -> None:
    source, _ = tiny
    ids = source.encode("a</s><s><unk><im_patch>")
    assert not {source.begin, source.end, source.unknown, source.image} & set(ids)
    assert source.decode([source.begin, *ids, source.end]) == "a</s><s><unk><im_patch>"


def test_written_file_reads_back_alike(tiny: Pair, tmp_path: Path) -> None:
    source, oracle = tiny
    source.tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = " Image:\nKeypoint: é 0.5"
    assert again.encode(text).ids == oracle.exact.encode(text)
    assert again.get_vocab_size() == again.get_vocab_size(with_added_tokens=False) == 480


# Configuration ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train_tokenizer(tmp_path / "tokenizer.model")
    return tmp_path


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def test_defaults_are_those_of_transformers_4_31(folder: Path) -> None:
    source = load_tokenizer(folder)
    assert source.legacy and not source.cleanup_spaces
    assert (source.unknown, source.begin, source.end, source.pad, source.image) == (0, 1, 2, 0, 480)


def test_configuration_is_read(folder: Path) -> None:
    write(
        folder / "tokenizer_config.json",
        {
            "legacy": False,
            "clean_up_tokenization_spaces": True,
            "pad_token": {"__type": "AddedToken", "content": "</s>"},
            "bos_token": "<s>",
            "added_tokens_decoder": {"1": {"content": "<s>"}, "500": {"content": "<im_patch>"}},
        },
    )
    source = load_tokenizer(folder)
    assert not source.legacy and source.cleanup_spaces
    assert (source.pad, source.image) == (2, 500)
    assert load_tokenizer(folder, config={"im_patch_token": 500}).image == 500
    write(folder / "config.json", {"im_patch_token": 501})
    write(folder / "added_tokens.json", {"<im_patch>": 502})
    with pytest.raises(InvalidInputError) as caught:
        load_tokenizer(folder)
    for part in ("500 in tokenizer_config.json", "501 in config.json", "502 in added_tokens.json"):
        assert part in str(caught.value)


def test_vocabulary_must_agree(tiny: Pair) -> None:
    source, _ = tiny
    source.check_vocabulary(480, 480)
    for rows in ((481, 480), (480, 481), (481, 481), (479, 479)):
        with pytest.raises(
            InvalidInputError, match=f"480 tokens.* {rows[0]} embedding rows, {rows[1]} head rows"
        ):
            source.check_vocabulary(*rows)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="got neither"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(
        InvalidInputError, match="expected .*tokenizer.model to be a SentencePiece model; got 43 bytes"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="got 0 bytes"):
        load_tokenizer(tmp_path)


def test_special_tokens_must_exist(folder: Path) -> None:
    write(folder / "tokenizer_config.json", {"eos_token": "<|end|>"})
    with pytest.raises(InvalidInputError, match="the eos token '<|end|>'"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: setattr(m.trainer_spec, "model_type", 1), "model type 1, not BPE"),
        (lambda m: setattr(m.trainer_spec, "byte_fallback", False), "no byte fallback"),
        (
            lambda m: setattr(m.normalizer_spec, "remove_extra_whitespaces", True),
            "text normalisation 'identity'",
        ),
        (lambda m: setattr(m.pieces[300], "type", 4), "user-defined symbols"),
    ],
)
def test_other_sentencepiece_models_are_refused(
    folder: Path, change: Callable[[Any], object], expected: str
) -> None:
    model = parse_sentencepiece((folder / "tokenizer.model").read_bytes())
    change(model)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInputError, match=expected):
        load_tokenizer(folder)
