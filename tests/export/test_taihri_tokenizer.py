# SPDX-License-Identifier: Apache-2.0
"""Byte-level tokenizers, against `transformers`; and those that answers cannot be written with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export import export_bundle  # noqa: E402
from edgepose.export.random_checkpoint.byte_level_vocabulary import (  # noqa: E402
    BINS,
    JOINTS,
    KEYPOINT_MARKERS,
    STOCK_MARKERS,
    train_byte_level_tokenizer,
)
from edgepose.export.tokenizer import ByteLevelTokenizer, load_byte_level_tokenizer  # noqa: E402

TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(["left_wrist", " hug", "<|im_end|>", "<5>", "<|neck|>", " ", "\n", "é", "12", "?"]),
        max_size=12,
    ).map("".join),
)


@pytest.fixture(scope="module")
def tokenizer(taihri_checkpoint: Path) -> ByteLevelTokenizer:
    return load_byte_level_tokenizer(taihri_checkpoint)


@pytest.fixture(scope="module")
def oracle(taihri_checkpoint: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(taihri_checkpoint)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(text=TEXTS)
def test_marked_texts_encode_as_in_transformers(
    tokenizer: ByteLevelTokenizer, oracle: Any, text: str
) -> None:
    assert tokenizer.encode_marked(text) == oracle(text).input_ids


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(text=TEXTS)
def test_other_texts_encode_as_without_special_tokens(
    tokenizer: ByteLevelTokenizer, oracle: Any, text: str
) -> None:
    ids = tokenizer.encode(text)
    assert ids == oracle(text, split_special_tokens=True).input_ids
    assert all(number < 256 + 160 for number in ids)


def test_the_file_is_kept_as_it_is(
    tokenizer: ByteLevelTokenizer, taihri_checkpoint: Path, tmp_path: Path
) -> None:
    tokenizer.write(tmp_path / "kept.json")
    original = (taihri_checkpoint / "tokenizer.json").read_bytes()
    assert (tmp_path / "kept.json").read_bytes() == original
    assert tokenizer.provenance == {"tokenizer": "tokenizer.json"}

    stored = json.loads(original)
    stored["truncation"] = {
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored), encoding="utf-8")
    cutting = load_byte_level_tokenizer(tmp_path)
    text = "Where is the left wrist of this person?"
    assert cutting.encode(text) == tokenizer.encode(text)
    cutting.write(tmp_path / "kept.json")
    kept = Tokenizer.from_file(str(tmp_path / "kept.json"))
    assert kept.truncation is None and kept.encode(text).ids == tokenizer.encode(text)


def test_tokens_are_found_in_the_spelling_that_is_there(
    tokenizer: ByteLevelTokenizer, tmp_path: Path
) -> None:
    plain = [joint.replace("<|", "<").replace("|>", ">") for joint in JOINTS]
    bins, joints = tokenizer.ids([BINS], [plain, JOINTS])
    assert bins == [tokenizer.tokenizer.token_to_id(token) for token in BINS]
    assert joints == [tokenizer.tokenizer.token_to_id(token) for token in JOINTS]
    train_byte_level_tokenizer(tmp_path / "tokenizer.json", added=[*STOCK_MARKERS, *plain])
    other = load_byte_level_tokenizer(tmp_path)
    assert other.ids([JOINTS, plain])[0] == [other.tokenizer.token_to_id(token) for token in plain]


def test_every_token_needs_a_row(tokenizer: ByteLevelTokenizer) -> None:
    size = tokenizer.tokenizer.get_vocab_size()
    tokenizer.check_vocabulary(size, size)
    tokenizer.check_vocabulary(size + 300, size + 300)
    for rows in ((size - 1, size - 1), (size, size + 1)):
        with pytest.raises(
            InvalidInputError, match=rf"up to {size - 1} \('<\|kpt3d_end\|>'\).* {rows[0]} embedding rows"
        ):
            tokenizer.check_vocabulary(*rows)


@pytest.mark.parametrize(
    ("missing", "listed"),
    [
        ({"<7>"}, [r"got several for 1: <7> is \["]),
        (
            {"<|kpt3d_end|>", "<|im_end|>"},
            ["got several for 2", r"<\|kpt3d_end\|> is \[", r"<\|im_end\|> is"],
        ),
        ({"<|neck|>"}, [r"got several for 1: <\|neck\|> is"]),
        (set(BINS[10:]), ["got several for 990", r"<10> is \[\d+, \d+", "and 986 more"]),
        ({"<0>", "<|neck|>"}, ["got several for 2", "<0> is", r"<\|neck\|> is"]),
    ],
)
def test_tokens_that_split_are_listed(
    taihri_checkpoint: Path, tmp_path: Path, missing: set[str], listed: list[str]
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(taihri_checkpoint, folder)
    added = [token for token in (*STOCK_MARKERS, *BINS, *JOINTS, *KEYPOINT_MARKERS) if token not in missing]
    train_byte_level_tokenizer(folder / "tokenizer.json", added=added)
    with pytest.raises(InvalidInputError, match=r"\[tokenizer\] expected each .* be one id in") as caught:
        export_bundle(family="taihri", checkpoint=folder, out=tmp_path / "bundle")
    for part in listed:
        caught.match(part)
    assert "save_pretrained" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


FRAMING = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"a": {"id": "a", "ids": [64], "tokens": ["a"]}},
}
"""A post-processor that puts a token in front of every text."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": None}, "a pre-tokenizer without byte level: null"),
        ({"model": {"type": "WordPiece"}}, "a model of type WordPiece, not BPE"),
        ({"model": None}, "a model of type NoneType"),
        ({"post_processor": FRAMING}, "a post-processor that adds 1 tokens"),
        ({"added_tokens": 3}, "readable by the tokenizers library"),
    ],
)
def test_other_tokenizers_are_refused(
    taihri_checkpoint: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    stored = json.loads((taihri_checkpoint / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**stored, **change}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        load_byte_level_tokenizer(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"expected a file tokenizer\.json.*save_pretrained"):
        load_byte_level_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="download the file again"):
        load_byte_level_tokenizer(tmp_path)
