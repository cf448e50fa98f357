# SPDX-License-Identifier: Apache-2.0
"""Boxes, crops and their inverse against the conformance vectors, NumPy and PyTorch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepose.crop import SquareCrop, normalise
from edgepose.errors import InvalidInputError
from edgepose.images import load_image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

boxes = st.tuples(
    st.floats(-50, 600), st.floats(-50, 440), st.floats(60, 700), st.floats(60, 700)
)  # always meets a 640x480 image in more than a pixel


def test_conformance_vector_1() -> None:
    crop = SquareCrop.from_box([100, 50, 80, 200], (640, 480))
    assert (crop.center_x, crop.center_y, crop.side) == (139.5, 149.5, 199.0)


def test_conformance_vector_2() -> None:
    crop = SquareCrop.from_box([100, 50, 80, 200], (640, 480))
    assert crop.to_image((0.512, 0.334)) == pytest.approx([141.888, 116.466], abs=1e-9)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((-10, -20, 100, 50), (0, 0, 99, 49)),  # the corner moves, the size stays
        ((600, 400, 100, 200), (600, 400, 39, 79)),
        ((0, 0, 640, 480), (0, 0, 639, 479)),
        ((-1e6, 0, 2e6, 10), (0, 0, 639, 9)),
        ((639, 100, 5, 50), (639, 100, 0, 49)),  # one column of pixels is left, the side is the height
        ((10, 10, 0.5, 30), (10, 10, 0, 29)),
        ((10.25, 20.5, 33.75, 12.125), (10.25, 20.5, 32.75, 11.125)),
    ],
)
def test_clipping(box: tuple[float, ...], clipped: tuple[float, ...]) -> None:
    x, y, w, h = clipped
    crop = SquareCrop.from_box(box, (640, 480))
    assert crop.center_x == pytest.approx(x + w / 2, rel=1e-6)
    assert crop.center_y == pytest.approx(y + h / 2, rel=1e-6)
    assert crop.side == pytest.approx(max(w, h), rel=1e-6)
    assert SquareCrop.from_box(box, (640, 480), 1.25).side == pytest.approx(1.25 * max(w, h), rel=1e-6)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (
            (640, 10, 20, 20),
            r"meets the image of 640x480 px; got .*\(640.0, 10.0, 20.0, 20.0\), which lies outside",
        ),
        ((10, 480, 20, 20), "which lies outside"),
        ((-100, 10, 50, 20), "which lies outside"),
        ((10, -20, 20, 20), "which lies outside"),
        ((10, 10, 0, 20), r"above 0; got .*\(10.0, 10.0, 0.0, 20.0\)"),
        ((10, 10, 20, 0), "above 0"),
        ((10, 10, -5, 20), "above 0; got .*-5.0.*not two corners"),
        ((10, 10, 1, 1), "leaves a side of 0 px"),
        ((639, 479, 50, 50), "leaves a side of 0 px"),
        ((10, 10, 1e-30, 1e-30), "leaves a side of 0 px"),
        ((math.nan, 0, 10, 10), r"four finite numbers .*got \(nan"),
        ((0, 0, math.inf, 10), "four finite numbers"),
        ((1, 2, 3), r"four finite numbers .*got \(1, 2, 3\)"),
        ((1, 2, 3, 4, 5), "four finite numbers"),
        ((), "four finite numbers"),
        (("a", 2, 3, 4), "four numbers .*got \\('a', 2, 3, 4\\)"),
        ((None, 2, 3, 4), "four numbers"),
        (None, "four numbers .*got None"),
        (5, "four numbers .*got 5"),
        ("1234x", "four numbers .*got '1234x'"),
        (np.zeros((4, 2)), "four numbers"),
    ],
)
def test_unusable_boxes(box: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        SquareCrop.from_box(box, (640, 480))


def test_boxes_may_be_arrays() -> None:
    expected = SquareCrop.from_box((100, 50, 80, 200), (640, 480))
    assert SquareCrop.from_box(np.array([100, 50, 80, 200]), (640, 480)) == expected
    assert SquareCrop.from_box(np.array([100, 50, 80, 200], np.float32), (640, 480)) == expected


def published_matrix(
    center: NDArray[np.float32], side: float, size: int, inverse: bool
) -> NDArray[np.float64]:
    """The map through three points, solved by NumPy in float64 from the points in float32."""
    edge = (center + [0, -side / 2]).astype(np.float32)
    source = np.array([center, edge, edge - [(center - edge)[1], 0]], dtype=np.float32)
    half = size / 2
    target = np.array([[half, half], [half, 0], [0, 0]], dtype=np.float32)
    if inverse:
        source, target = target, source
    solved: NDArray[np.float64] = np.linalg.solve(
        np.column_stack([source, np.ones(3)]).astype(np.float64), target.astype(np.float64)
    ).T
    return solved


@given(boxes)
def test_matrix_is_the_published_one(box: tuple[float, ...]) -> None:
    crop = SquareCrop.from_box(box, (640, 480))
    center = np.array([crop.center_x, crop.center_y], dtype=np.float32)
    np.testing.assert_allclose(
        crop.matrix(224), published_matrix(center, crop.side, 224, False), rtol=1e-9, atol=1e-7
    )
    u = (np.array([10.0, 20.0]) - center) * 224 / crop.side + 112
    np.testing.assert_allclose(crop.matrix(224) @ [10, 20, 1], u, atol=1e-2, rtol=1e-4)


@given(boxes, st.tuples(st.integers(0, 999), st.integers(0, 999)))
def test_inverse_agrees_with_the_published_route(box: tuple[float, ...], bins: tuple[int, int]) -> None:
    crop = SquareCrop.from_box(box, (640, 480))
    normalised = np.array(bins) / 1000
    center = np.array([crop.center_x, crop.center_y], dtype=np.float32)
    route = published_matrix(center, crop.side, 224, True) @ [*(normalised * 224), 1]
    np.testing.assert_allclose(crop.to_image(normalised), route, atol=1e-3)
    np.testing.assert_allclose(crop.to_crop(crop.to_image(normalised)), normalised, atol=1e-12)


def test_to_image_keeps_shape_and_nan() -> None:
    crop = SquareCrop(10.0, 20.0, 4.0)
    placed = crop.to_image(np.array([[[0.5, 0.5], [0.0, math.nan]]], dtype=np.float32))
    assert placed.shape == (1, 2, 2) and placed.dtype == np.float64
    assert placed[0, 0].tolist() == [10.0, 20.0]
    assert placed[0, 1, 0] == 8.0 and math.isnan(placed[0, 1, 1])


def test_warp_is_bilinear_with_black_border() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(1, 256, (60, 80, 3), dtype=np.uint8)
    crop = SquareCrop(70.0, 30.0, 40.0)
    warped = crop.warp(image, 56)
    assert warped.shape == (56, 56, 3) and warped.dtype == np.uint8
    inverse = np.vstack([crop.matrix(56), [0, 0, 1]])
    u, v = np.meshgrid(np.arange(56), np.arange(56))
    x, y, _ = np.einsum(
        "ij,jvu->ivu", np.linalg.inv(inverse), np.stack([u, v, np.ones_like(u)]).astype(float)
    )
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)))
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    expected = np.zeros((56, 56, 3))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (1 - np.abs(x - (x0 + dx))) * (1 - np.abs(y - (y0 + dy)))
            at = padded[np.clip(y0 + dy + 1, 0, 61), np.clip(x0 + dx + 1, 0, 81)]
            expected += weight[..., None] * at
    # OpenCV 4 rounds positions to 1/32 pixel, which moves noise of this contrast by up to 16 grey levels.
    assert np.abs(warped - expected).max() <= 17
    assert np.abs(warped - expected).mean() < 3
    assert (warped[:, 50:] == 0).all() and (warped[:, :40] > 0).any()


def test_identity_crop_returns_the_pixels() -> None:
    image = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(SquareCrop(16.0, 16.0, 32.0).warp(image, 32), image)


def test_normalise_equals_torchvision_bit_for_bit() -> None:
    torch = pytest.importorskip("torch")
    crop = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    crop = np.concatenate([crop, crop[::-1, :, ::-1]])[:28, :, :]
    tensor = torch.from_numpy(crop.transpose(2, 0, 1).copy()).contiguous().to(torch.float32).div(255)
    tensor = tensor.sub_(torch.tensor(CLIP_MEAN).view(-1, 1, 1)).div_(torch.tensor(CLIP_STD).view(-1, 1, 1))
    ours = normalise(crop, CLIP_MEAN, CLIP_STD)
    assert ours.shape == (1, 3, 28, 16) and ours.dtype == np.float32 and ours.flags.c_contiguous
    assert np.array_equal(ours[0].view(np.uint32), tensor.numpy().view(np.uint32))


def test_pixels_is_warp_then_normalise() -> None:
    image = np.random.default_rng(7).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    crop = SquareCrop.from_box((5, 5, 30, 20), (50, 40))
    expected = normalise(crop.warp(image, 28), CLIP_MEAN, CLIP_STD)
    assert np.array_equal(crop.pixels(image, 28, mean=CLIP_MEAN, std=CLIP_STD), expected)


def test_photograph_crop_equals_the_published_calls(shared_data: Path) -> None:
    photograph = next(iter(sorted((shared_data / "coco").rglob("*.jpg"))))
    image = load_image(photograph)
    height, width = image.shape[:2]
    crop = SquareCrop.from_box((0.13 * width, 0.21 * height, 0.4 * width, 0.7 * height), (width, height))
    center = np.array([crop.center_x, crop.center_y], dtype=np.float32)
    half = np.float32(crop.side) / 2
    source = np.array([center, center + [0, -half], center + [-half, -half]], np.float32)
    target = np.array([[112, 112], [112, 0], [0, 0]], np.float32)
    expected = cv2.warpAffine(
        image, cv2.getAffineTransform(source, target), (224, 224), flags=cv2.INTER_LINEAR
    )
    assert np.array_equal(crop.warp(image, 224), expected)
