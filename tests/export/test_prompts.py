# SPDX-License-Identifier: Apache-2.0
"""Prompts, token for token: against published vectors, and against SentencePiece on the stripped segments."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from edgepose.errors import InvalidInputError
from edgepose.export.prompts import PROMPT_FORMATS, build_prompt, encode_prompt, prompt_string
from edgepose.export.random_checkpoint import train_tokenizer
from edgepose.export.tokenizer import LlamaTokenizer, load_tokenizer, parse_sentencepiece


@pytest.fixture(scope="module")
def texts(shared_data: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(
        (shared_data / "locllm_keypoint_texts.json").read_text(encoding="utf-8")
    )
    return value


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> LlamaTokenizer:
    folder = tmp_path_factory.mktemp("llama")
    shutil.copyfile(shared_data / "llama2_tokenizer.model", folder / "tokenizer.model")
    return load_tokenizer(folder, config={"im_patch_token": 32000})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LlamaTokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    train_tokenizer(folder / "tokenizer.model")
    return load_tokenizer(folder)


@pytest.mark.parametrize("legacy", [False, True])
def test_keypoint_prompts_are_the_published_token_vectors(
    llama: LlamaTokenizer, texts: dict[str, Any], legacy: bool
) -> None:
    tokenizer = dataclasses.replace(llama, legacy=legacy)
    prompt = build_prompt("keypoint", tokenizer, 256)
    vectors = texts["token_vectors"]
    assert len(vectors["by_name"]) == 24
    for name, vector in vectors["by_name"].items():
        ids = encode_prompt(prompt, tokenizer, name=name, description=texts["keypoints"][name]["description"])
        suffix = vector["suffix_ids"]
        if legacy:
            suffix = [7670, *suffix[1:]]  # the first token gets a blank
        assert suffix[0] == (7670 if legacy else 2558)
        assert ids == vectors["prefix_ids"] + [32000] * 256 + suffix
        assert len(ids) == vector["prompt_tokens"]


def test_prompt_strings_are_the_published_ones(texts: dict[str, Any]) -> None:
    for name, vector in texts["token_vectors"]["by_name"].items():
        entry = texts["keypoints"][name]
        string = prompt_string("keypoint", 256, name=name, description=entry["description"])
        assert hashlib.sha256(string.encode()).hexdigest() == vector["prompt_sha256"]


@pytest.mark.parametrize("name", ["nose", "head_top"])
def test_alternative_prompt_strings_follow_the_published_templates(texts: dict[str, Any], name: str) -> None:
    question = texts["keypoints"][name]["questions"][0]
    image = "<im_patch>" * 256
    simple = texts["template"]["simple_conv"]["pattern"].replace("{IMAGE}", image).replace("{name}", name)
    llama2 = texts["template"]["llama2_conv"]["pattern"].replace("{IMAGE}", image)
    llama2 = llama2.replace("{questions[name][0]}", question)
    assert prompt_string("simple", 256, name=name) == simple
    assert prompt_string("llama2", 256, name=name, question=question) == llama2


def slow_tokenizer(source: LlamaTokenizer, string: str) -> list[int]:
    """What the published slow tokenizer does, with SentencePiece alone.

    The text is split at the placeholders and stripped beside them. SentencePiece puts a blank before each
    part; unless legacy, the blank of a part after a special token is taken off its first piece again.
    """
    processor = sentencepiece.SentencePieceProcessor(model_file=str(source.source))
    ids = [source.begin]
    parts = string.split("<im_patch>")
    for number, part in enumerate(parts):
        if number > 0:
            ids.append(source.image)
        part = (part.lstrip() if number > 0 else part).rstrip() if number < len(parts) - 1 else part.lstrip()
        if not part:
            continue
        pieces = processor.encode(part, out_type=str)
        if number > 0 and not source.legacy:
            pieces[0] = pieces[0].removeprefix("▁")
        ids += [processor.piece_to_id(piece) for piece in pieces if piece]
    return ids


@pytest.mark.parametrize("prompt_format", list(PROMPT_FORMATS))
@pytest.mark.parametrize("legacy", [False, True])
def test_every_format_encodes_as_the_slow_tokenizer(
    llama: LlamaTokenizer, texts: dict[str, Any], prompt_format: str, legacy: bool
) -> None:
    tokenizer = dataclasses.replace(llama, legacy=legacy)
    prompt = build_prompt(prompt_format, tokenizer, 256)
    for name in texts["names"]:
        entry = texts["keypoints"][name]
        filling = {"name": name, "description": entry["description"], "question": entry["questions"][0]}
        expected = slow_tokenizer(tokenizer, prompt_string(prompt_format, 256, **filling))
        assert encode_prompt(prompt, tokenizer, **filling) == expected


@pytest.mark.parametrize("prompt_format", list(PROMPT_FORMATS))
def test_every_format_encodes_as_the_slow_tokenizer_with_a_tiny_vocabulary(
    tiny: LlamaTokenizer, prompt_format: str
) -> None:
    assert tiny.legacy
    prompt = build_prompt(prompt_format, tiny, 4)
    filling = {"name": "left wrist", "description": "Where the hand begins.", "question": "Where is it?"}
    expected = slow_tokenizer(tiny, prompt_string(prompt_format, 4, **filling))
    assert encode_prompt(prompt, tiny, **filling) == expected
    assert tiny.unknown not in expected


def test_segments_are_those_of_a_bundle(tiny: LlamaTokenizer) -> None:
    prompt = build_prompt("llama2", dataclasses.replace(tiny, legacy=False), 16)
    assert prompt == {
        "format": "llama2",
        "prefix": [{"tokens": [1]}, {"text": " [INST] <<SYS>>\nImage:"}, {"image": 16}],
        "suffix": "<</SYS>>\n\n{question} [/INST]",
    }
    assert build_prompt("simple", tiny, 4)["suffix"].startswith(" Question: Where is the {name} of")
    assert build_prompt("keypoint", tiny, 4)["suffix"].startswith(" Keypoint: {description}\nQuestion: ")


def test_braces_in_texts_stay(tiny: LlamaTokenizer) -> None:
    string = prompt_string("keypoint", 1, name="{description}", description="{name} {question} {x}")
    assert "Keypoint: {name} {question} {x}\n" in string and "the {description} of" in string


def test_unknown_formats_are_refused(tiny: LlamaTokenizer) -> None:
    with pytest.raises(InvalidInputError, match="out of keypoint, simple, llama2; got 'chat'"):
        build_prompt("chat", tiny, 4)
    with pytest.raises(InvalidInputError, match="got 'chat'"):
        prompt_string("chat", 4, name="nose")


def test_oracle_reads_the_file_of_the_tokenizer(tiny: LlamaTokenizer) -> None:
    assert parse_sentencepiece(tiny.source.read_bytes()).normalizer_spec.add_dummy_prefix
