# SPDX-License-Identifier: Apache-2.0
"""Reads the Leeds Sports Pose Extended photographs: one zip of pictures, one array of joints.

How crops are cut from them does not belong here. No picture of the data set is part of this repository.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.evaluation.lsp import LSP14

__all__ = ["TRAINING", "VALIDATION", "Photographs", "read_lspet"]

TRAINING = range(0, 9000)
"""Photographs 1 to 9000."""
VALIDATION = range(9000, 10000)
"""Photographs 9001 to 10000."""

_CANVAS = 224
"""Side of the square that a picture is kept in; larger pictures are scaled down to it."""


@dataclass(frozen=True, slots=True)
class Photographs:
    """Pictures of one person each, at the top left of black squares of one size."""

    names: tuple[str, ...]
    """Keypoints of the last-but-one axis of `joints`."""
    images: NDArray[np.uint8]
    """(N, S, S, 3) RGB, perhaps mapped from a file."""
    sizes: NDArray[np.int64]
    """(N, 2) width and height of each picture in its square, pixels."""
    joints: NDArray[np.float32]
    """(N, K, 3) x and y, pixels of the square with centres at integers, and 1 where the joint is labelled."""

    def __len__(self) -> int:
        return len(self.images)


def read_lspet(
    folder: str | os.PathLike[str],
    indices: range,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Photographs:
    """Decodes photographs.

    Args:
        folder: Directory with `images.zip` (`im00001.webp`, ...) and `joints.npy` (N, 14, 3) float32.
        indices: Which, counted from 0: `TRAINING`, `VALIDATION` or a part of them.
        cache: Directory that keeps the decoded pixels, 150 kB for each; default: memory.
        progress: Called with the stage, pictures done and pictures in all.

    Raises:
        InvalidInputError: a file is missing, or is not what it should be.

    Source: Johnson and Everingham, Learning Effective Human Pose Estimation from Inaccurate Annotation, CVPR
    2011. Joints that are not visible have no place in the annotation.
    """
    root = Path(folder)
    joints = _read_joints(root / "joints.npy", indices)
    sizes = np.zeros((len(indices), 2), np.int64)
    scales = np.ones(len(indices), np.float32)
    shape = (len(indices), _CANVAS, _CANVAS, 3)
    stored = None if cache is None else Path(cache) / f"lspet_{indices.start + 1}_{indices.stop}.npy"
    complete = stored is not None and stored.is_file()
    images: NDArray[np.uint8]
    if stored is None:
        images = np.zeros(shape, np.uint8)
    elif complete:
        images = np.load(stored, mmap_mode="r")
    else:
        stored.parent.mkdir(parents=True, exist_ok=True)
        draft = stored.with_suffix(".tmp")
        images = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
    for place, size in enumerate(_pictures(root / "images.zip", indices, None if complete else images)):
        sizes[place], scales[place] = size
        if progress is not None:
            progress("photographs", place + 1, len(indices))
    if stored is not None and not complete:
        del images  # writes what is left
        draft.replace(stored)
        images = np.load(stored, mmap_mode="r")
    labelled = joints.copy()
    labelled[..., :2] = (joints[..., :2] + 0.5) * scales[:, None, None] - 0.5
    labelled[joints[..., 2] <= 0] = 0.0
    return Photographs(LSP14.keypoints, images, sizes, labelled)


def _read_joints(path: Path, indices: range) -> NDArray[np.float32]:
    try:
        joints = np.load(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"[photographs] expected the annotation {path}, (N, {len(LSP14)}, 3) numbers; got {error}; name "
            "the directory that holds joints.npy and images.zip"
        ) from error
    if joints.ndim != 3 or joints.shape[1:] != (len(LSP14), 3) or len(joints) < indices.stop:
        raise InvalidInputError(
            f"[photographs] expected {path} to hold at least ({indices.stop}, {len(LSP14)}, 3) numbers; got "
            f"{joints.shape}; use the annotation that belongs to the photographs, or fewer of them"
        )
    chosen: NDArray[np.float32] = joints[indices.start : indices.stop].astype(np.float32)
    return chosen


def _pictures(
    path: Path, indices: range, into: NDArray[np.uint8] | None
) -> Iterator[tuple[tuple[int, int], float]]:
    """Yields (width, height) in the square and the scale of each picture; decodes where there is a place for
    it."""
    import cv2
    from PIL import Image, UnidentifiedImageError

    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidInputError(
            f"[photographs] expected a zip of pictures at {path}; got {error}; name the directory that holds "
            "joints.npy and images.zip"
        ) from error
    with archive:
        for place, index in enumerate(indices):
            name = f"im{index + 1:05d}.webp"
            try:
                picture = Image.open(io.BytesIO(archive.read(name)))
                width, height = picture.size
                scale = min(1.0, _CANVAS / max(width, height))
                size = (round(width * scale), round(height * scale))
                if into is not None:
                    pixels = np.asarray(picture.convert("RGB"))
                    if scale < 1:
                        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
                    into[place, : size[1], : size[0]] = pixels
            except (KeyError, UnidentifiedImageError, OSError) as error:
                raise InvalidInputError(
                    f"[photographs] expected the picture {name} in {path}; got {error}; unpack the data set "
                    "again"
                ) from error
            yield size, scale
