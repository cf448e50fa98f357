# SPDX-License-Identifier: Apache-2.0
"""The size of a vision encoder's input against conformance vectors and transformers."""

from __future__ import annotations

import importlib
import types

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgepose.errors import InvalidInputError
from edgepose.smart_resize import smart_resize

MIN_PIXELS, MAX_PIXELS = 12_544, 2_007_040


@pytest.fixture(scope="module")
def image_processing() -> types.ModuleType:
    """transformers' Qwen2-VL image processing; the one without torchvision has its own module since 5."""
    pytest.importorskip("transformers")
    for name in ("image_processing_pil_qwen2_vl", "image_processing_qwen2_vl"):
        try:
            return importlib.import_module(f"transformers.models.qwen2_vl.{name}")
        except ImportError:
            continue
    pytest.skip("no Qwen2-VL image processing that can be imported")


def test_conformance_vector_10() -> None:
    assert smart_resize(1400, 1400, 32, MIN_PIXELS, MAX_PIXELS) == (1408, 1408)
    assert smart_resize(1400, 1400, 28, MIN_PIXELS, MAX_PIXELS) == (1400, 1400)


def test_conformance_vector_11() -> None:
    assert smart_resize(1125, 2000, 32, MIN_PIXELS, MAX_PIXELS) == (1056, 1888)


def test_halves_go_to_the_even_multiple() -> None:
    assert smart_resize(48, 80, 32, 1, MAX_PIXELS) == (64, 64)
    assert smart_resize(112, 144, 32, 1, MAX_PIXELS) == (128, 128)


def test_few_pixels_become_enough() -> None:
    assert smart_resize(1, 1, 32, MIN_PIXELS, MAX_PIXELS) == (128, 128)
    assert smart_resize(15, 2000, 32, MIN_PIXELS, MAX_PIXELS) == (32, 1312)


def test_a_side_is_never_rounded_to_nothing() -> None:
    assert smart_resize(100, 20_000, 32, 1, 10_000) == (32, 1408)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from([1, 14, 28, 32, 56]),
    st.integers(1, 3_000_000),
    st.integers(1, 3_000_000),
)
@example(1400, 1400, 32, MIN_PIXELS, MAX_PIXELS)
@example(48, 80, 32, 1, MAX_PIXELS)
@example(25, 5000, 32, MIN_PIXELS, MAX_PIXELS)
def test_smart_resize_is_that_of_transformers(
    image_processing: types.ModuleType, height: int, width: int, factor: int, low: int, high: int
) -> None:
    low, high = min(low, high), max(low, high)
    try:
        expected = image_processing.smart_resize(height, width, factor, low, high)
    except ValueError:
        with pytest.raises(InvalidInputError, match=f"differ at most 200 times; got {width}x{height} px"):
            smart_resize(height, width, factor, low, high)
    else:
        assert smart_resize(height, width, factor, low, high) == expected


@pytest.mark.parametrize("size", [(1, 200), (200, 1), (7, 1400)])
def test_200_times_as_long_is_not_too_long(size: tuple[int, int]) -> None:
    assert min(smart_resize(*size, 32, MIN_PIXELS, MAX_PIXELS)) == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 201, 32, 1, 100), "at most 200 times; got 201x1 px"),
        ((2010, 10, 32, 1, 100), "at most 200 times; got 10x2010 px"),
        ((0, 10, 32, 1, 100), "at least 1x1 px; got 10x0 px"),
        ((10, 0, 32, 1, 100), "at least 1x1 px; got 0x10 px"),
        ((10, -3, 32, 1, 100), "at least 1x1 px; got -3x10 px"),
        ((10, 10, 0, 1, 100), "got factor 0"),
        ((10, 10, 32, 0, 100), "got factor 32, min_pixels 0"),
        ((10, 10, 32, 101, 100), "min_pixels 101, max_pixels 100"),
    ],
)
def test_unusable_sizes(arguments: tuple[int, int, int, int, int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        smart_resize(*arguments)
