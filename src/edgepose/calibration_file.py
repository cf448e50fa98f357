# SPDX-License-Identifier: Apache-2.0
"""Calibration files: what a ROS camera_info YAML or an OpenCV FileStorage YAML says of a camera.

Whether its numbers make a camera is not decided here: see `edgepose.camera_checks`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.lens import LensModel

__all__ = ["Calibration", "read_calibration"]

_MODELS: dict[str, LensModel] = {
    "": "pinhole",
    "none": "pinhole",
    "plumb_bob": "pinhole",
    "rational_polynomial": "pinhole",
    "equidistant": "fisheye",
    "fisheye": "fisheye",
}
"""The lens model of each `distortion_model` that ROS writes."""

_EXAMPLE = "write one with ROS's camera_calibration or OpenCV's calibration sample"


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What a file says of a camera, unchecked."""

    matrix: NDArray[np.float64]
    """(3, 3) float64, pixels."""
    width: int
    height: int
    distortion: tuple[float, ...]
    """In OpenCV's order; empty where the file has none."""
    model: LensModel


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Read a calibration from a file.

    Args:
        path: YAML with `image_width`, `image_height`, `camera_matrix` and, where the lens bends lines,
            `distortion_coefficients`: as ROS writes it, matrices as rows, cols, data, and `distortion_model`
            one of plumb_bob, rational_polynomial, equidistant; or as OpenCV does, with `fisheye_model: 1`
            for a fisheye lens.

    Raises:
        InvalidInputError: the file cannot be read or parsed, or one of these entries is missing or malformed.

    Source:
        ROS camera_calibration_parsers (YAML) and sensor_msgs/distortion_models; OpenCV's tutorial sample
        camera_calibration.
    """
    where = Path(path)
    try:
        text = where.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        got = "a directory" if where.is_dir() else str(error)
        raise InvalidInputError(
            f"[calibration] expected a readable YAML file; got {str(where)!r}: {got}; check the path"
        ) from error
    storage = _parse(where, text)
    try:
        matrix = _numbers(where, storage, "camera_matrix")
        if matrix.size != 9:
            raise _malformed(where, "camera_matrix with 9 numbers", f"{matrix.size} numbers")
        size = [_whole(where, storage, name) for name in ("image_width", "image_height")]
        name = storage.getNode("distortion_model").string()
        if name not in _MODELS:
            known = ", ".join(name for name in _MODELS if name)
            raise _malformed(where, f"a distortion_model out of {known}", repr(name))
        model: LensModel = "fisheye" if storage.getNode("fisheye_model").real() else _MODELS[name]
        distortion = _numbers(where, storage, "distortion_coefficients", required=False)
    finally:
        storage.release()
    return Calibration(matrix.reshape(3, 3), size[0], size[1], tuple(distortion.tolist()), model)


def _parse(path: Path, text: str) -> Any:
    import cv2

    # OpenCV's reader wants its own header, and lists indented deeper than their key; ROS writes neither.
    lines = [line for line in text.splitlines() if not line.startswith(("%", "---", "..."))]
    body = "\n".join(re.sub(r"^(\s*)- ", r"\1  - ", line) for line in lines)
    flags = cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY | cv2.FILE_STORAGE_FORMAT_YAML
    try:
        storage = cv2.FileStorage("%YAML:1.0\n---\n" + body + "\n", flags)
    except (cv2.error, SystemError) as error:  # SystemError wraps OpenCV's where a constructor throws
        why = str(error.__cause__ or error)
        raise InvalidInputError(
            f"[calibration] expected a calibration in YAML; got {str(path)!r}: {why.strip()}; {_EXAMPLE}"
        ) from error
    if storage.getNode("camera_matrix").empty():
        keys = storage.root().keys() if storage.root().isMap() else ()
        raise _malformed(path, "a camera_matrix", f"entries {', '.join(keys) or 'of no kind'}")
    return storage


def _numbers(path: Path, storage: Any, name: str, *, required: bool = True) -> NDArray[np.float64]:
    """The numbers of a matrix, flat: of OpenCV's own type, of ROS's map, or a plain list."""
    node = storage.getNode(name)
    if node.empty() and not required:
        return np.zeros(0)
    data = node.getNode("data") if node.isMap() else node
    if not data.isSeq():
        raise _malformed(path, f"{name} as a matrix with data", "none")
    items = [data.at(index) for index in range(data.size())]
    if not all(item.isReal() or item.isInt() for item in items):
        raise _malformed(path, f"{name} of numbers", "something else among them")
    return np.array([item.real() for item in items], dtype=np.float64)


def _whole(path: Path, storage: Any, name: str) -> int:
    node = storage.getNode(name)
    if not node.isInt():
        raise _malformed(path, f"{name}, a whole number of pixels", "none")
    return int(node.real())


def _malformed(path: Path, expected: str, got: str) -> InvalidInputError:
    return InvalidInputError(f"[calibration] expected {expected} in {str(path)!r}; got {got}; {_EXAMPLE}")
