# SPDX-License-Identifier: Apache-2.0
"""An image from a file, an array or Pillow, as one kind of array, decoded as the published systems decode it.

Boxes, crops and normalisation do not belong here: see `edgepose.crop`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["ImageSource", "decode_image", "load_image"]

ImageSource: TypeAlias = "str | os.PathLike[str] | NDArray[np.uint8] | PIL.Image.Image"
"""What a user may pass as an image: see `load_image`."""

_EIGHT_BIT_MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
)


def load_image(source: ImageSource) -> NDArray[np.uint8]:
    """Bring an image into the form that the rest of the package works on.

    Args:
        source: path of an image file; `(H, W, 3)` uint8 RGB array; or Pillow image of a mode with 8 bits per
            channel, whose alpha is dropped. EXIF orientation is ignored in all cases, as published.

    Returns:
        `(H, W, 3)` uint8 RGB, C order. An array that already has this form is returned without a copy.

    Raises:
        InvalidInputError: the file is missing, empty, truncated or not an image, or the array or Pillow image
            has another type or shape or no pixels.

    Source:
        LocLLM, datasets/coco.py: decoding with IMREAD_COLOR and IMREAD_IGNORE_ORIENTATION, then BGR to RGB.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(source))
    pillow = sys.modules.get("PIL.Image")  # without Pillow loaded nothing can be a Pillow image
    if pillow is not None and isinstance(source, pillow.Image):
        return _from_pillow(source)
    raise InvalidInputError(
        "[image] expected a path, an (H, W, 3) uint8 RGB array or a Pillow image; got "
        f"{type(source).__module__}.{type(source).__qualname__}; convert it with numpy.asarray(...)"
    )


def _from_array(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    got = f"got {array.dtype} array of shape {array.shape}"
    expected = "[image] expected an (H, W, 3) uint8 RGB array"
    if array.dtype != np.uint8:
        remedy = "convert it to 8 bits, for values in [0, 1] with (image * 255).round().astype(numpy.uint8)"
        raise InvalidInputError(f"{expected}; {got}; {remedy}")
    if array.ndim != 3 or array.shape[2] != 3:
        remedy = "make it three channels, last axis RGB"
        if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
            remedy = "repeat the grey channel: numpy.repeat(image.reshape(H, W, 1), 3, axis=2)"
        elif array.ndim == 3 and array.shape[2] == 4:
            remedy = "drop the alpha channel: image[..., :3]"
        elif array.ndim == 3 and array.shape[0] == 3:
            remedy = "move the channels last: image.transpose(1, 2, 0)"
        elif array.ndim == 4:
            remedy = "pass one image at a time"
        raise InvalidInputError(f"{expected}; {got}; {remedy}")
    if array.size == 0:
        raise InvalidInputError(f"{expected} with at least one pixel; {got}; check where the image came from")
    return np.ascontiguousarray(array, dtype=np.uint8)


def _from_pillow(image: PIL.Image.Image) -> NDArray[np.uint8]:
    what = f"{image.mode} image of {image.width}x{image.height} px"
    if image.mode not in _EIGHT_BIT_MODES:
        raise InvalidInputError(
            f"[image] expected a Pillow image with 8 bits per channel; got {what}; bring its values into the "
            'range 0 to 255 and convert it with image.convert("RGB")'
        )
    try:
        return _from_array(np.asarray(image.convert("RGB")))
    except OSError as error:  # Pillow decodes late
        raise InvalidInputError(
            f"[image] expected a readable Pillow image; got {what}: {error}; check its file"
        ) from error


def _from_file(path: Path) -> NDArray[np.uint8]:
    try:
        data = path.read_bytes()
    except OSError as error:
        got = "a directory" if path.is_dir() else error.strerror or str(error)
        raise InvalidInputError(
            f"[image] expected a readable image file; got {str(path)!r}: {got}; check the path"
        ) from error
    except ValueError as error:  # a NUL character in the path
        raise InvalidInputError(
            f"[image] expected a path; got {str(path)!r}: {error}; check the path"
        ) from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Like `load_image`, of the content of an image file.

    Args:
        data: the whole file.
        name: what to call it in messages.

    Raises:
        InvalidInputError: it is empty, truncated or not an image.
    """
    import cv2

    if not data:
        raise InvalidInputError(
            f"[image] expected an image file; got {name!r}, which is empty; copy it again"
        )
    if _is_truncated(data):
        raise InvalidInputError(
            f"[image] expected a whole image; got {name!r}, which ends early after {len(data)} bytes; "
            "copy or record it again"
        )
    try:
        # imdecode, not imread: it takes paths outside the locale's characters, and decodes the same.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InvalidInputError(
            f"[image] expected an image that OpenCV decodes; got {name!r}: {error}; save it as PNG or JPEG"
        ) from error
    if decoded is None:
        raise InvalidInputError(
            f"[image] expected an image that OpenCV decodes; got {name!r}, {len(data)} bytes "
            f"starting with {data[:8]!r}; save it as PNG or JPEG"
        )
    return _from_array(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _is_truncated(data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP ends before its end mark; decoders fill such images up and keep silent."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in data
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data.startswith(b"\xff\xd8"):
        scan = _first_scan(data)
        return scan < 0 or data.find(b"\xff\xd9", scan) < 0
    return False


def _first_scan(data: bytes) -> int:
    """Offset of a JPEG's first scan, -1 where the file ends before it; segments are stepped over."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return at  # not a segment: leave the verdict to the decoder
        marker = data[at + 1]
        if marker == 0xDA:
            return at
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return -1
