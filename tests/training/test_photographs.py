# SPDX-License-Identifier: Apache-2.0
"""Annotated photographs: what is read, and where joints lie in crops that are scaled, turned and mirrored."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from edgepose.crop import SquareCrop  # noqa: E402
from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.evaluation.lsp import LSP14  # noqa: E402
from edgepose.training.photographs import (  # noqa: E402
    TRAINING,
    VALIDATION,
    Augmentation,
    cut,
    mirrored,
    read_lspet,
)

STILL = Augmentation(scale=0.0, rotation=0.0, rotated=0.0, flipped=0.0, colour=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, the second larger than the square they are kept in."""
    numbers = np.random.default_rng(0)
    joints = np.zeros((3, 14, 3), np.float32)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for index, (width, height) in enumerate([(80, 60), (448, 224), (40, 90)]):
            pixels = np.full((height, width, 3), 40 * (index + 1), np.uint8)
            written = io.BytesIO()
            Image.fromarray(pixels).save(written, "WEBP", lossless=True)
            archive.writestr(f"im{index + 1:05d}.webp", written.getvalue())
            joints[index, :, 0] = numbers.uniform(0, width, 14)
            joints[index, :, 1] = numbers.uniform(0, height, 14)
            joints[index, :, 2] = 1
    joints[0, 3] = (-50, -70, 0)
    np.save(tmp_path / "joints.npy", joints)
    return tmp_path


@pytest.mark.parametrize("cached", [False, True])
def test_pictures_and_joints_are_read(folder: Path, cached: bool) -> None:
    cache, calls = folder / "cache" if cached else None, []
    for _ in range(2):  # the second time from the cache
        found = read_lspet(folder, range(3), cache=cache, progress=lambda *call: calls.append(call))
        assert found.names == LSP14.keypoints and len(found) == 3
        assert found.sizes.tolist() == [[80, 60], [224, 112], [40, 90]]
        assert found.images[0, :60, :80].min() == 40 and found.images[0, 60:].max() == 0
        assert found.images[1, :112].min() == found.images[1, :112].max() == 80
        original = np.load(folder / "joints.npy")
        np.testing.assert_allclose(found.joints[2], original[2], atol=1e-4)
        np.testing.assert_allclose(found.joints[1, :, :2], (original[1, :, :2] + 0.5) / 2 - 0.5, atol=1e-4)
        assert found.joints[0, 3].tolist() == [0, 0, 0]
    assert calls[2] == calls[5] == ("photographs", 3, 3)


def test_broken_data_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least \\(9, 14, 3\\) numbers"):
        read_lspet(folder, range(9))
    np.save(folder / "joints.npy", np.zeros((4, 14, 3)))
    with pytest.raises(InvalidInputError, match="the picture im00004.webp"):
        read_lspet(folder, range(4))
    (folder / "images.zip").write_bytes(b"no zip")
    with pytest.raises(InvalidInputError, match="a zip of pictures"):
        read_lspet(folder, range(3))
    with pytest.raises(InvalidInputError, match="joints.npy"):
        read_lspet(folder / "elsewhere", range(3))


def test_the_real_photographs(shared_data: Path) -> None:
    found = read_lspet(shared_data / "lspet", range(9000, 9020))
    assert (len(TRAINING), len(VALIDATION)) == (9000, 1000)
    known = found.joints[..., 2] > 0
    assert 0.7 < known.mean() < 1
    for joints, size, labelled in zip(found.joints, found.sizes, known, strict=True):
        assert (joints[labelled, :2] > -30).all() and (joints[labelled, :2] < size + 30).all()
    heads, ankles = found.joints[:, 13], found.joints[:, 0]
    both = (heads[:, 2] > 0) & (ankles[:, 2] > 0)
    assert (heads[both, 1] < ankles[both, 1]).mean() > 0.6  # most athletes are not upside down


def test_mirrored_names() -> None:
    names = ("nose", "left eye", "right eye", "left ear")
    assert mirrored(names).tolist() == [0, 2, 1, 3]


def picture_with_dots(places: list[tuple[int, int]]) -> np.ndarray:
    image = np.zeros((120, 160, 3), np.uint8)
    for number, (x, y) in enumerate(places):
        cv2.circle(image, (x, y), 3, (255, 100 + 100 * number, 0), -1)
    return image


@pytest.mark.parametrize("seed", range(6))
def test_joints_stay_on_what_they_mark(seed: int) -> None:
    """The centre of a disc's pixels in the crop is where the joint is said to be."""
    places = [(70, 50), (95, 80)]
    joints = np.array([[*place, 1] for place in places], np.float32)
    wild = Augmentation(scale=0.3, rotation=40, rotated=1.0, flipped=0.5, shift=0.05)
    crop = SquareCrop(80.0, 65.0, 90.0)
    for place in range(2):
        image = picture_with_dots([places[place]])
        swap = np.arange(2)
        generator = np.random.default_rng(seed)
        pixels, placed = cut(image, joints, crop, 128, swap=swap, augmentation=wild, generator=generator)
        rows, columns = np.nonzero(pixels[..., 0] > 127)
        if placed[place, 2]:
            assert placed[place, 0] * 128 == pytest.approx(columns.mean(), abs=0.75)
            assert placed[place, 1] * 128 == pytest.approx(rows.mean(), abs=0.75)


def test_a_crop_without_variation_is_the_one_of_inference() -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    joints = np.array([[70, 50, 1], [5, 5, 1], [90, 60, 0]], np.float32)
    crop = SquareCrop.from_box((40, 20, 60, 80), (160, 120))
    for varied in (None, STILL):
        generator = np.random.default_rng(1)
        swap = np.arange(3)
        pixels, placed = cut(image, joints, crop, 84, swap=swap, augmentation=varied, generator=generator)
        assert np.abs(pixels.astype(int) - crop.warp(image, 84)).max() <= 1
        np.testing.assert_allclose(placed[0, :2], crop.to_crop(joints[0, :2]), atol=1e-5)
        assert placed[:, 2].tolist() == [1, 0, 0]  # outside the crop, not labelled


def test_mirroring_swaps_left_and_right() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    joints = np.array([[16, 30, 1], [48, 40, 0]], np.float32)
    mirror = Augmentation(scale=0.0, rotated=0.0, flipped=1.0)
    pixels, placed = cut(
        image,
        joints,
        SquareCrop(32.0, 32.0, 64.0),
        64,
        swap=mirrored(("left eye", "right eye")),
        augmentation=mirror,
        generator=np.random.default_rng(0),
    )
    assert np.array_equal(pixels[:, 1:], image[:, :0:-1])  # u = 64 - x
    assert placed[1].tolist() == [0.75, 30 / 64, 1] and placed[0, 2] == 0
