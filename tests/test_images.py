# SPDX-License-Identifier: Apache-2.0
"""Images from files, arrays and Pillow, and everything that is none."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edgepose.images
from edgepose.errors import InvalidInputError
from edgepose.images import load_image


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """(48, 64, 3) uint8, smooth enough for JPEG, different in every channel."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=2).astype(np.uint8)


def encoded(picture: NDArray[np.uint8], form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, form, **options)
    return stream.getvalue()


def test_array_is_passed_through(picture: NDArray[np.uint8]) -> None:
    assert load_image(picture) is picture
    view = picture[::2, ::-1]
    loaded = load_image(view)
    assert loaded.flags.c_contiguous and np.array_equal(loaded, view)


@pytest.mark.parametrize("name", ["p.png", "größe 图.png"])
def test_lossless_file_is_rgb(picture: NDArray[np.uint8], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(encoded(picture, "PNG"))
    for path in (tmp_path / name, str(tmp_path / name)):
        loaded = load_image(path)
        assert loaded.dtype == np.uint8 and np.array_equal(loaded, picture)


def test_jpeg_decodes_as_opencv_reads_it(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    (tmp_path / "p.jpg").write_bytes(encoded(picture, "JPEG", exif=exif))
    expected = cv2.imread(str(tmp_path / "p.jpg"), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert expected is not None
    loaded = load_image(tmp_path / "p.jpg")
    assert loaded.shape == (48, 64, 3)  # not turned
    assert np.array_equal(loaded, expected[..., ::-1])
    pillow = load_image(Image.open(tmp_path / "p.jpg"))
    assert pillow.shape == (48, 64, 3)
    assert np.abs(pillow.astype(int) - loaded).max() <= 4  # another JPEG decoder at most


def test_photographs_decode_as_opencv_reads_them(shared_data: Path) -> None:
    photographs = sorted((shared_data / "coco").rglob("*.jpg"))
    assert photographs
    for photograph in photographs:
        expected = cv2.imread(str(photograph), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert expected is not None
        assert np.array_equal(load_image(photograph), cv2.cvtColor(expected, cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pillow_modes_of_8_bits(picture: NDArray[np.uint8], mode: str) -> None:
    image = Image.fromarray(picture).convert(mode)
    loaded = load_image(image)
    assert loaded.shape == (48, 64, 3) and loaded.dtype == np.uint8
    assert np.array_equal(loaded, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_pillow_modes_of_more_bits_are_refused(mode: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"got {mode} image of 5x4 px; bring its values"):
        load_image(Image.new(mode, (5, 4)))


def test_grey_and_alpha_files_become_rgb(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(picture).convert("L").save(tmp_path / "l.png")
    Image.fromarray(picture).convert("RGBA").save(tmp_path / "a.png")
    assert load_image(tmp_path / "l.png").shape == (48, 64, 3)
    assert np.array_equal(load_image(tmp_path / "a.png"), picture)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"got uint8 array of shape \(4, 5\); repeat the grey"),
        (np.zeros((4, 5, 1), np.uint8), "repeat the grey"),
        (np.zeros((4, 5, 4), np.uint8), r"drop the alpha channel: image\[..., :3\]"),
        (np.zeros((3, 4, 5), np.uint8), "move the channels last"),
        (np.zeros((1, 4, 5, 3), np.uint8), "one image at a time"),
        (np.zeros((4, 5, 7), np.uint8), "make it three channels"),
        (np.zeros(3, np.uint8), "make it three channels"),
        (np.zeros((0, 5, 3), np.uint8), r"at least one pixel; got uint8 array of shape \(0, 5, 3\)"),
        (np.zeros((4, 0, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 5, 3), np.float32), r"got float32 array of shape \(4, 5, 3\); convert it to 8 bits"),
        (np.zeros((4, 5, 3), np.int8), "got int8"),
        (np.zeros((4, 5, 3), np.uint16), "got uint16"),
        (np.zeros((4, 5, 3), bool), "got bool"),
        (np.zeros((4, 5, 3), object), "got object"),
    ],
)
def test_arrays_of_the_wrong_kind(array: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_image(array)


@pytest.mark.parametrize("thing", [None, 7, [[1, 2, 3]], b"bytes", object()])
def test_other_things(thing: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"got {type(thing).__module__}.{type(thing).__qualname__}"):
        load_image(thing)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="absent.jpg': No such file"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(InvalidInputError, match="a directory; check the path"):
        load_image(tmp_path)
    with pytest.raises(InvalidInputError, match="null"):
        load_image("nul\0.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InvalidInputError, match="which is empty"):
        load_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("not an image at all")
    with pytest.raises(InvalidInputError, match=r"19 bytes starting with b'not an i'"):
        load_image(tmp_path / "text.jpg")


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
    ],
    ids=["jpeg", "progressive", "png", "webp", "bmp", "tiff"],
)
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.filterwarnings("ignore")
def test_truncated_files(
    picture: NDArray[np.uint8], tmp_path: Path, form: str, options: dict[str, Any], kept: float
) -> None:
    data = encoded(picture, form, **options)
    (tmp_path / "whole").write_bytes(data)
    assert load_image(tmp_path / "whole").shape == (48, 64, 3)
    (tmp_path / "cut").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InvalidInputError, match="ends early|expected an image that OpenCV decodes"):
        load_image(tmp_path / "cut")


def test_thumbnail_does_not_hide_a_cut(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    thumbnail = encoded(picture[::4, ::4], "JPEG")
    exif = b"Exif\0\0" + thumbnail  # a whole JPEG, end mark included, inside a segment
    data = encoded(picture, "JPEG", exif=exif)
    assert data.count(b"\xff\xd9") == 2
    (tmp_path / "whole.jpg").write_bytes(data + b"\0trailing bytes of a camera")
    assert load_image(tmp_path / "whole.jpg").shape == (48, 64, 3)
    (tmp_path / "cut.jpg").write_bytes(data[:-40])
    with pytest.raises(InvalidInputError, match="ends early"):
        load_image(tmp_path / "cut.jpg")


def test_the_picture_that_ships() -> None:
    assets = Path(edgepose.images.__file__).parent / "assets"
    assert (assets / "person.jpg").stat().st_size < 100_000
    assert load_image(assets / "person.jpg").shape == (480, 640, 3)
    x, y, w, h = json.loads((assets / "person.json").read_text(encoding="utf-8"))["box"]
    assert 0 <= x < x + w <= 640 and 0 <= y < y + h <= 480


def test_truncated_pillow_image(picture: NDArray[np.uint8]) -> None:
    data = encoded(picture, "PNG")
    image = Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(
        InvalidInputError, match="expected a readable Pillow image; got RGB image of 64x48 px"
    ):
        load_image(image)
