# SPDX-License-Identifier: Apache-2.0
"""Examples made from images: which images, which questions, well-formed answers, positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from PIL import Image

from edgepose.bundle import BinCodecSpec, Bundle, DigitCodecSpec, LayoutSpec, read_manifest
from edgepose.errors import InvalidInputError
from edgepose.examples import Example, ImageExamples, _blocks, _positions
from edgepose.manifest import BLOCKS
from edgepose.manifest.bin_codec import MARKERS

from .answer_forms import BlockForm


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Five small pictures, and a file that is none."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        pixels = random.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("taken in May", encoding="utf-8")
    return folder


def test_takes_files_and_folders_evenly_spaced(photographs: Path) -> None:
    names = [f"{number}.png" for number in range(5)]
    assert [file.name for file in ImageExamples([photographs]).files] == names
    assert [file.name for file in ImageExamples([photographs], most=3).files] == names[::2]
    assert [file.name for file in ImageExamples([photographs], most=1).files] == names[:1]
    files = ImageExamples([photographs / "3.png", photographs]).files
    assert [file.name for file in files] == ["3.png", *names]
    assert ImageExamples([photographs], focal=600.0).to_json() == {"images": 5, "focal": 600.0}


def test_refuses_what_holds_no_images(photographs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidInputError, match=r"\[calibration\] expected images .* in .*empty; got none"):
        ImageExamples([photographs, empty])
    with pytest.raises(InvalidInputError, match=r"nowhere to be an image or a folder .* got nothing there"):
        ImageExamples([tmp_path / "nowhere"])
    with pytest.raises(InvalidInputError, match=r"expected images; got none"):
        ImageExamples([])
    with pytest.raises(InvalidInputError, match=r"focal length above 0, pixels; got -3"):
        ImageExamples([photographs], focal=-3)
    with pytest.raises(InvalidInputError, match=r"at least one image to be taken; got 0"):
        ImageExamples([photographs], most=0)


def test_positions_count_on_behind_the_image() -> None:
    prefix = [5, 6, -1, -1, -1, -1, -1, -1, 7, 8]
    positions, after = _positions(prefix, (2, 3))
    assert positions.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]
    assert after == 7
    positions, after = _positions(prefix, None)
    assert (positions == np.arange(10)).all() and after == 10


@pytest.mark.parametrize("blocks", [BLOCKS, ("kpt3d", "box", "kpt2d"), ("kpt2d", "kpt3d")])
@pytest.mark.parametrize("spaced", [False, True])
def test_block_answers_follow_the_form(blocks: tuple[str, ...], spaced: bool) -> None:
    names = [field for field in LayoutSpec.__slots__ if field not in ("blocks", "source")]
    gaps: dict[str, Any] = {name: (500 + n, 600) for n, name in enumerate(names)} if spaced else {}
    spec = BinCodecSpec(
        kind="bin",
        bins=tuple(range(100, 200)),
        joints={"a": 10, "b": 11, "c": 12},
        markers={name: 20 + number for number, name in enumerate(MARKERS)},
        layout=LayoutSpec(blocks=blocks, **gaps),
        x=(0, 1),
        y=(0, 1),
        z=(0, 1),
        end=2,
        pad=0,
        max_tokens=99,
        repetition_penalty=1.0,
    )
    form = BlockForm(
        bins=spec.bins,
        joints=tuple(spec.joints.values()),
        markers=spec.markers,
        end=spec.end,
        blocks=blocks,
        separators=spec.layout.separators,
        asked=(2, 0),
    )
    random = np.random.default_rng(0)
    answers = {tuple(_blocks(spec, ["c", "a"], random)) for _ in range(3)}
    assert len(answers) == 3
    for answer in answers:
        for length, token in enumerate(answer):
            place = form(answer[:length])
            assert place is not None and token in place.allowed
        assert form(answer) is None


def test_crops_of_a_bundle(photographs: Path, make_bundle: Callable[..., Path]) -> None:
    bundle = _bundle_with_words(make_bundle)
    examples = list(ImageExamples([photographs]).examples(bundle))
    assert len(examples) == 5
    codec = bundle.manifest.codec
    assert isinstance(codec, DigitCodecSpec)
    for example in examples:
        assert example.vision["pixels"].shape == (1, 3, 28, 28)
        assert example.prefix.count(-1) == 4
        assert len(example.continuations) == 4
        assert example.after == len(example.prefix) == len(example.positions)
        for ids in example.continuations:
            answer = ids[-12:]
            assert [answer[n] for n in (0, 1, 2, 6, 7, 8)] == [30, 10, 31, 32, 10, 31]
            assert set(answer[3:6]) | set(answer[9:12]) <= set(codec.digits)
        assert repr(example).startswith("Example(")
    again = list(ImageExamples([photographs]).examples(bundle))
    for one, other in zip(examples, again, strict=True):
        assert one.continuations == other.continuations
    digits = {token for e in examples for ids in e.continuations for token in ids[-12:]} & set(codec.digits)
    assert digits == set(codec.digits)
    # The next image is asked about the next keypoints.
    questions = [ids[:-12] for example in examples for ids in example.continuations]
    assert len(set(questions)) == len(questions) == 20 < len(bundle.manifest.keypoints.texts)


def test_names_a_file_that_is_no_image(photographs: Path, make_bundle: Callable[..., Path]) -> None:
    (photographs / "2.png").write_bytes(b"this is text")
    examples = ImageExamples([photographs]).examples(_bundle_with_words(make_bundle))
    assert isinstance(next(examples), Example)
    with pytest.raises(InvalidInputError, match=r"2\.png"):
        list(examples)


def _bundle_with_words(make_bundle: Callable[..., Path]) -> Bundle:
    """A bundle whose tokenizer tells letters apart, so that questions differ."""
    root = make_bundle()
    letters = "abcdefghijklmnopqrstuvwxyz ,."
    vocabulary = {"?": 0, **{letter: 1 + number for number, letter in enumerate(letters)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(root / "tokenizer.json"))
    return Bundle(root, read_manifest(root), np.load(root / "embeddings.npy", mmap_mode="r"))
