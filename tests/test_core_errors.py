# SPDX-License-Identifier: Apache-2.0
"""The errors of the C++ core as they arrive in Python, and what raises them."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgepose import _core, errors
from edgepose._core import IMAGE_TOKEN, BlockCodec, Choice, DecoderDims, DigitCodec, HostDecoder

from .numpy_decoder import Sizes, random_model
from .numpy_graphs import NumpyGraphs

BASES: dict[str, type[Exception]] = {
    "EdgePoseError": Exception,
    "InvalidInputError": ValueError,
    "BundleError": ValueError,
    "EngineMismatchError": ValueError,
    "BackendUnavailableError": ImportError,
    "BackendError": RuntimeError,
    "DecodeError": RuntimeError,
}


@pytest.mark.parametrize("name", BASES)
def test_a_cpp_error_arrives_as_its_own_type(name: str) -> None:
    with pytest.raises(errors.EdgePoseError, match=re.escape("[where] text; got 7")) as caught:
        _core._throw[name]("[where] text; got 7")
    assert caught.type is getattr(errors, name)
    assert caught.type is getattr(_core, name)
    assert issubclass(caught.type, BASES[name])
    assert str(caught.value) == "[where] text; got 7"


def test_the_list_of_errors_is_complete() -> None:
    assert set(_core._throw) == set(BASES) == set(errors.__all__)


@pytest.mark.parametrize("name", BASES)
def test_an_error_pickles(name: str) -> None:
    kind = getattr(errors, name)
    assert (kind.__module__, kind.__qualname__) == ("edgepose.errors", name)
    copy = pickle.loads(pickle.dumps(kind("[where] text")))
    assert type(copy) is kind
    assert copy.args == ("[where] text",)


@pytest.mark.parametrize("name", BASES)
def test_an_error_says_when_it_is_raised(name: str) -> None:
    assert getattr(errors, name).__doc__


SIZES = Sizes(hidden=16, layers=2, heads=4, kv_heads=2, head_dim=4, vocabulary=50)
MODEL = random_model(SIZES, np.random.default_rng(0))
DIGITS = list(range(20, 30))
ANSWER_HEAD = [4, 5, 6, 7, *DIGITS]


def make_dims(**changes: Any) -> DecoderDims:
    sizes: dict[str, Any] = {
        "hidden": 16,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 4,
        "vocabulary": 50,
        "rope_theta": 1e4,
    }
    return DecoderDims(**(sizes | changes))


BLOCKS: dict[str, Any] = {
    "bins": [20, 21, 22],
    "joints": [30, 31],
    "markers": {
        name: token
        for token, name in enumerate(
            ("box_start", "box_end", "kpt2d_start", "kpt2d_end", "kpt3d_start", "kpt3d_end"), 10
        )
    },
    "end": 2,
    "blocks": ["box", "kpt2d", "kpt3d"],
    "separators": {},
}


def make_blocks(**changes: Any) -> BlockCodec:
    return BlockCodec(**(BLOCKS | changes))


def make_codec() -> DigitCodec:
    return DigitCodec(places=[3, 3], open=4, zero=20, point=5, comma=6, close=7, digits=DIGITS)


class Decoder:
    """A decoder with arguments that work, to be changed one at a time."""

    def __init__(self, graphs: NumpyGraphs | None = None) -> None:
        self.graphs = graphs or NumpyGraphs(MODEL, ANSWER_HEAD)
        self._decoder = HostDecoder(
            self.graphs, make_dims(), MODEL.embeddings, ANSWER_HEAD, make_codec().alphabets
        )

    def decode(self, **changes: Any) -> _core.Decoding:
        arguments: dict[str, Any] = {
            "form": make_codec().form,
            "prefix": [1, IMAGE_TOKEN, IMAGE_TOKEN, 31],
            "image": np.ones((2, 16), np.float32),
            "questions": [[32, 3], [33, 34, 3]],
            "exact": False,
            "max_tokens": 13,
            "end": 2,
            "max_positions": 64,
        }
        return self._decoder.decode(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prefix": [], "image": None}, "[prompt] a shared prefix; got no token"),
        ({"questions": []}, "[prompt] at least one question; got none"),
        ({"questions": [[3], []]}, "[prompt] at least one token a question; got none"),
        ({"questions": [[3, -1]]}, "got -1"),
        ({"questions": [[3, -7]]}, "got -7"),
        ({"questions": [[50]]}, "below 50; got 50"),
        ({"prefix": [IMAGE_TOKEN, IMAGE_TOKEN, 50]}, "below 50; got 50"),
        ({"prefix": [IMAGE_TOKEN, IMAGE_TOKEN, -2]}, "got -2"),
        ({"image": None}, "[image embeddings] (2, 16) float32; got none"),
        ({"image": np.ones((3, 16), np.float32)}, "contiguous (2, 16) float32; got (3, 16) float32"),
        ({"image": np.ones((2, 15), np.float32)}, "contiguous (2, 16) float32; got (2, 15) float32"),
        ({"image": np.ones((1, 2, 16), np.float32)}, "contiguous (2, 16) float32; got (1, 2, 16) float32"),
        ({"image": np.ones((2, 16), np.float16)}, "contiguous (2, 16) float32; got (2, 16) float16"),
        ({"image": np.ones((2, 16))}, "contiguous (2, 16) float32; got (2, 16) float64"),
        ({"image": np.ones((2, 16), ">f4")}, "contiguous (2, 16) float32; got (2, 16) >f4"),
        (
            {"image": np.ones((16, 2), np.float32).T},
            "contiguous (2, 16) float32; got (2, 16) float32, not contiguous",
        ),
        ({"prefix": [1, 31]}, "contiguous (0, 16) float32; got (2, 16) float32"),
        ({"image_grid": (1, 2)}, "[image grid] none, as positions of this model are one number"),
        ({"deepstack": [np.ones((2, 16), np.float32)]}, "[deepstack] 0 arrays of image features; got 1"),
        (
            {"deepstack": [np.ones((1, 16), np.float32)]},
            "[deepstack] contiguous (2, 16) float32; got (1, 16)",
        ),
        ({"deepstack": [np.ones((2, 16))]}, "[deepstack] contiguous (2, 16) float32; got (2, 16) float64"),
        ({"repetition_penalty": 0.0}, "a finite number above 0, 1 for none; got 0"),
        ({"repetition_penalty": float("nan")}, "a finite number above 0, 1 for none; got nan"),
        ({"image_token": 50}, "an image token below 50, or -1 for none; got 50"),
        ({"form": make_blocks().free()}, "over the decoder's 6 alphabets; got one over "),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_decode_names_what_is_wrong(changes: dict[str, Any], message: str, exact: bool) -> None:
    decoder = Decoder()
    with pytest.raises(errors.InvalidInputError, match=re.escape(message)):
        decoder.decode(**changes, exact=exact)
    assert len(decoder.decode(exact=exact).answers) == 2


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    decoder = Decoder()
    decoder.decode(max_positions=4 + 3 + 13)
    with pytest.raises(errors.DecodeError, match=r"the model's 19 positions; got 20 tokens"):
        decoder.decode(max_positions=4 + 3 + 13 - 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": np.ones((49, 16), np.float32)}, "(50, 16); got (49, 16)"),
        ({"embeddings": np.ones((50, 8), np.float32)}, "(50, 16); got (50, 8)"),
        ({"embeddings": np.ones(50, np.float32)}, "(50, 16); got (50,)"),
        ({"embeddings": np.ones((50, 16))}, "float32 or float16; got float64"),
        ({"embeddings": np.ones((16, 50), np.float32).T}, "got (50, 16), not contiguous"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidInputError, match=re.escape(message)):
        HostDecoder(
            NumpyGraphs(MODEL, []), make_dims(), changes["embeddings"], ANSWER_HEAD, make_codec().alphabets
        )


def test_an_answer_head_without_a_digit_is_refused() -> None:
    head = ANSWER_HEAD[:-1]
    with pytest.raises(errors.BundleError, match=r"token 29 has none"):
        HostDecoder(NumpyGraphs(MODEL, head), make_dims(), MODEL.embeddings, head, make_codec().alphabets)


def test_an_answer_head_of_the_digits_is_enough() -> None:
    graphs = NumpyGraphs(MODEL, DIGITS)
    decoder = HostDecoder(graphs, make_dims(), MODEL.embeddings, DIGITS, make_codec().alphabets)
    arguments: dict[str, Any] = {
        "form": make_codec().form,
        "prefix": [1],
        "image": None,
        "questions": [[3]],
        "end": 2,
    }
    answer = decoder.decode(**arguments, exact=False, max_tokens=13, max_positions=99).answers[0]
    assert answer.tokens == Decoder().decode(prefix=[1], image=None, questions=[[3]]).answers[0].tokens


def test_wrong_argument_types_are_type_errors() -> None:
    with pytest.raises(TypeError):
        HostDecoder(None, make_dims(), MODEL.embeddings, ANSWER_HEAD, make_codec())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Decoder().decode(image=[[1.0]])
    with pytest.raises(TypeError):
        Decoder().decode(questions=[["3"]])


@pytest.mark.parametrize("graph", ["llm_decoder", "lm_head", "answer_head"])
@pytest.mark.parametrize(
    "error",
    [
        KeyError("mine"),
        KeyboardInterrupt(),
        errors.BackendError("[vendor] out of memory"),
        errors.BundleError("[file] gone"),
        ImportError("no library"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_graphs_raise_arrives_unchanged(graph: str, error: BaseException) -> None:
    class Failing(NumpyGraphs):
        fails = True

        def run(self, handle: int) -> None:
            super().run(handle)
            if self.fails and self.runs[-1] == graph:
                raise error

    decoder = Decoder(Failing(MODEL, ANSWER_HEAD))
    exact = graph == "lm_head"
    with pytest.raises(type(error)) as caught:
        decoder.decode(exact=exact)
    assert caught.value is error
    Failing.fails = False
    again = decoder.decode(exact=exact).answers
    fresh = Decoder().decode(exact=exact).answers
    assert [answer.tokens for answer in again] == [answer.tokens for answer in fresh]


@pytest.mark.parametrize("method", ["bind", "release"])
def test_what_binding_raises_arrives_unchanged(method: str) -> None:
    error = LookupError("mine")

    def fail(*_: object) -> None:
        raise error

    graphs = type("Failing", (NumpyGraphs,), {method: fail})(MODEL, ANSWER_HEAD)
    with pytest.raises(LookupError) as caught:
        Decoder(graphs).decode()
    assert caught.value is error


@pytest.mark.parametrize("method", ["bind", "run", "release"])
def test_graphs_without_a_method_are_named(method: str) -> None:
    methods = {name: lambda *_: 0 for name in ("bind", "run", "release") if name != method}
    graphs = type("Half", (_core.Graphs,), methods)()
    decoder = HostDecoder(graphs, make_dims(), MODEL.embeddings, ANSWER_HEAD, make_codec().alphabets)
    with pytest.raises(TypeError, match=f"Graphs needs a method {method}"):
        decoder.decode(
            form=make_codec().form,
            prefix=[1],
            image=None,
            questions=[[3]],
            exact=False,
            max_tokens=13,
            end=2,
            max_positions=99,
        )


def test_an_image_with_nan_is_an_error_and_does_not_last() -> None:
    decoder = Decoder()
    image = np.ones((2, 16), np.float32)
    before = [answer.tokens for answer in decoder.decode(image=image).answers]
    for exact in (False, True):
        with pytest.raises(errors.BackendError, match="NaN"):
            decoder.decode(image=np.full((2, 16), np.nan, np.float32), exact=exact)
        assert [answer.tokens for answer in decoder.decode(image=image).answers] == before


Break = Callable[[list[Choice]], _core.Answer]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda choices: _core.Answer(choices, False), "that is not; read its text"),
        (lambda choices: _core.Answer(choices[:-1], True), "13 tokens"),
        (lambda choices: _core.Answer([], True), "13 tokens"),
    ],
)
def test_answers_that_leave_the_form_are_not_read(make: Break, message: str) -> None:
    codec = make_codec()
    choices = [Choice(token) for token in codec.encode([0.25, 0.5])]
    assert [number.value for number in codec.read(_core.Answer(choices, True))] == [0.25, 0.5]
    with pytest.raises(errors.DecodeError, match=message):
        codec.read(make(choices))


@pytest.mark.parametrize("numbers", [[0.5], [0.5, 1.0], [-0.5, 0.5], [float("nan"), 0.5], [0.5] * 3])
def test_numbers_that_cannot_be_written_are_refused(numbers: list[float]) -> None:
    with pytest.raises(errors.InvalidInputError, match="digit codec"):
        make_codec().encode(numbers)


@pytest.mark.parametrize("places", [[], [0], [3, 10]])
def test_fields_without_sense_are_refused(places: list[int]) -> None:
    with pytest.raises(errors.BundleError, match="digit codec"):
        DigitCodec(places=places, open=4, zero=20, point=5, comma=6, close=7, digits=DIGITS)


IMAGE = np.ones((2, 16), np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "[image grid] rows and columns of the image, as positions have three axes; got none"),
        ({"image_grid": (1, 3)}, "the prefix's 2 image rows; got 1 x 3"),
        ({"image_grid": (-1, -2)}, "the prefix's 2 image rows; got -1 x -2"),
        ({"image_grid": (1, 2), "prefix": [IMAGE_TOKEN, 1, IMAGE_TOKEN]}, "one image in the prefix"),
        ({"image_grid": (1, 2), "prefix": [1], "image": None}, "none without an image; got one"),
        ({"image_grid": (1, 2), "deepstack": []}, "[deepstack] 2 arrays of image features; got 0"),
        ({"image_grid": (1, 2), "deepstack": [IMAGE] * 3}, "[deepstack] 2 arrays of image features; got 3"),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_images_with_axes_are_checked(changes: dict[str, Any], message: str, exact: bool) -> None:
    sizes = dataclasses.replace(SIZES, head_dim=6, rope_sections=(1, 1, 1), deepstack=2)
    model = random_model(sizes, np.random.default_rng(0))
    dims = make_dims(head_dim=6, rope_sections=(1, 1, 1), deepstack=2)
    codec = make_codec()
    decoder = HostDecoder(
        NumpyGraphs(model, ANSWER_HEAD), dims, model.embeddings, ANSWER_HEAD, codec.alphabets
    )
    arguments: dict[str, Any] = {
        "form": codec.form,
        "prefix": [1, IMAGE_TOKEN, IMAGE_TOKEN, 31],
        "image": IMAGE,
        "deepstack": [] if changes.get("image", IMAGE) is None else [IMAGE, IMAGE],
        "questions": [[3]],
        "exact": exact,
        "max_tokens": 13,
        "end": 2,
        "max_positions": 64,
    }
    with pytest.raises(errors.InvalidInputError, match=re.escape(message)):
        decoder.decode(**(arguments | changes))
    assert len(decoder.decode(**arguments | {"image_grid": (2, 1), "deepstack": [IMAGE, IMAGE]}).answers) == 1


@pytest.mark.parametrize("sections", [(1, 1), (1, 1, 1), (3, -1, 0)])
def test_rope_sections_that_do_not_fit_are_refused(sections: tuple[int, ...]) -> None:
    dims = make_dims(rope_sections=sections)
    with pytest.raises(errors.BundleError, match="three sections that sum to 2"):
        HostDecoder(NumpyGraphs(MODEL, []), dims, MODEL.embeddings, ANSWER_HEAD, make_codec().alphabets)


@pytest.mark.parametrize("alphabets", [[], [[20, 21], []]])
def test_alphabets_that_are_empty_are_refused(alphabets: list[list[int]]) -> None:
    with pytest.raises(errors.BundleError, match=r"\[codec\] at least one"):
        HostDecoder(NumpyGraphs(MODEL, []), make_dims(), MODEL.embeddings, ANSWER_HEAD, alphabets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bins": [20]}, "at least two bins; got 1"),
        ({"bins": [20, 20]}, "token 20 twice"),
        ({"joints": []}, "at least one joint; got none"),
        ({"joints": [30, 20]}, "the end; got token 20 twice"),
        ({"end": 10}, "the end; got token 10 twice"),
        ({"blocks": []}, "at least one block"),
        ({"blocks": ["box", "box"]}, "none twice; got 2 blocks"),
        ({"blocks": ["mask"]}, "out of box, kpt2d and kpt3d; got mask"),
        ({"separators": {"behind": [5]}}, "known separators; got behind"),
        ({"separators": {"after_name": [30]}}, "no bin, joint, marker or end; got token 30"),
        ({"markers": {"box_start": 10}}, "kpt3d_end; got box_start"),
        ({"markers": BLOCKS["markers"] | {"more": 17}}, "got box_end, box_start, kpt2d_end"),
    ],
)
def test_block_codecs_without_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.BundleError, match=re.escape(message)):
        make_blocks(**changes)


@pytest.mark.parametrize("joints", [[], [2], [-1], [0, 0]])
def test_joints_that_cannot_be_asked_for_are_refused(joints: list[int]) -> None:
    with pytest.raises(errors.InvalidInputError, match="block codec"):
        make_blocks().asked(joints)


def test_any_answer_is_read_in_blocks() -> None:
    read = make_blocks().read(_core.Answer([], False))
    assert (read.box, read.points) == ([], [])
    tokens = [7, 12, 31, 22, 7, 21, 30, 20]  # a joint, and another without its second number
    choices = [Choice(token, mean=1.5) for token in tokens]
    (point,) = make_blocks().read(_core.Answer(choices, False)).points
    assert (point.joint, point.xyz, point.probability) == (1, [], 1.0)
    assert [number.value for number in point.xy] == [1.0, 0.5]
    assert [number.expected for number in point.xy] == [0.75, 0.75]
