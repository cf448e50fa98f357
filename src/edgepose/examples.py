# SPDX-License-Identifier: Apache-2.0
"""Examples of a model's work, made from images: what it sees, what it is asked, and answers it might give.

The exporter measures on them how large activations become. Running models does not belong here.

Answers are well formed and say random places, since no model runs: the tokens of all digits and bins occur,
in their places of the form. An example asks a few of the questions that a bundle has, the next one the next
few, so that every keypoint has its turn and an image costs little.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose._core import IMAGE_TOKEN, DigitCodec
from edgepose.bundle import BinCodecSpec, Bundle, DigitCodecSpec
from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.images import load_image
from edgepose.questions import Questions, open_questions
from edgepose.video import IMAGE_SUFFIXES

__all__ = ["Example", "ImageExamples"]

_QUESTIONS = 4
"""Keypoints asked about one image, one question for each or all in one."""

_SEED = 20260107


@dataclass(frozen=True, slots=True, repr=False)
class Example:
    """One image and what follows it."""

    name: str
    """Of the image."""
    vision: Mapping[str, NDArray[np.generic]]
    """Inputs of the vision encoder, by name."""
    prefix: tuple[int, ...]
    """Token ids that all continuations share, P of them; -1 for each row of the image embeddings."""
    positions: NDArray[np.int64]
    """Rotary positions of the prefix, (P,), or (3, P) for M-RoPE: time, row and column."""
    after: int
    """Position of the first token behind the prefix, on all axes; the others count on."""
    continuations: tuple[tuple[int, ...], ...]
    """Token ids of several questions with their answers."""

    def __repr__(self) -> str:
        lengths = ", ".join(str(len(ids)) for ids in self.continuations)
        return f"Example({self.name!r}, prefix of {len(self.prefix)} tokens, then {lengths})"


class ImageExamples:
    """Images as examples for whatever bundle they are wanted for.

    Bundles that look at one person's crop take each image for the crop of a person who fills it. Bundles that
    look at whole frames take it for the picture of a camera with its principal point in the middle.

    Args:
        images: files, and folders whose images are taken (not those of folders in them).
        focal: focal length of the camera, pixels; default: the longer side of each image. Of no effect for
            bundles that look at crops.
        most: images taken at most, evenly spaced among all that there are.

    Raises:
        InvalidInputError: a path leads nowhere, a folder has no images, or a number is not above 0.
    """

    def __init__(
        self, images: Sequence[str | os.PathLike[str]], *, focal: float | None = None, most: int = 32
    ) -> None:
        if focal is not None and not (np.isfinite(focal) and focal > 0):
            raise InvalidInputError(f"[calibration] expected a focal length above 0, pixels; got {focal!r}")
        if most < 1:
            raise InvalidInputError(f"[calibration] expected at least one image to be taken; got {most!r}")
        files = [file for path in images for file in _files(Path(path))]
        if not files:
            raise InvalidInputError(
                "[calibration] expected images; got none; name a few dozen photographs like those that the "
                "model will see, or a folder of them"
            )
        places = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)
        self.files = tuple(files[place] for place in places)
        """The images that are taken."""
        self._focal = focal

    def examples(self, bundle: Bundle) -> Iterator[Example]:
        """One example for each image.

        Args:
            bundle: its manifest and its tokenizer are used, not its graphs.

        Raises:
            InvalidInputError: a file is not an image that can be read.
        """
        random = np.random.default_rng(_SEED)
        questions = open_questions(bundle, exact=False)
        for number, file in enumerate(self.files):
            yield self._example(bundle, questions, file, number * _QUESTIONS, random)

    def to_json(self) -> dict[str, Any]:
        """How many images there are, and what was assumed of them."""
        return {"images": len(self.files), "focal": self._focal}

    def _example(
        self, bundle: Bundle, questions: Questions, file: Path, first: int, random: np.random.Generator
    ) -> Example:
        """What the file shows, and the questions about the joints from `first` on."""
        manifest = bundle.manifest
        image = load_image(file)
        height, width = image.shape[:2]
        codec = manifest.codec
        names = list(codec.joints if isinstance(codec, BinCodecSpec) else manifest.keypoints.texts)
        asked = [names[(first + step) % len(names)] for step in range(min(_QUESTIONS, len(names)))]
        focal = float(max(width, height)) if self._focal is None else self._focal
        frame = manifest.crop is None
        (inquiry,) = questions.locate(
            image,
            boxes=None if frame else [(0.0, 0.0, float(width), float(height))],
            keypoints=asked,
            camera=Camera(focal, focal, width / 2, height / 2, width, height) if frame else None,
        )
        answers: list[list[int]]
        if isinstance(codec, DigitCodecSpec):
            answers = [_digits(codec, random) for _ in asked]
        else:
            answers = [_blocks(codec, asked, random)]
        prompt = inquiry.prompt
        axes = 3 if manifest.decoder.rope_sections else 1
        positions, after = _positions(prompt.prefix, inquiry.image_grid if axes == 3 else None)
        return Example(
            name=str(file),
            vision={n: array for n, array in inquiry.see().items() if isinstance(array, np.ndarray)},
            prefix=prompt.prefix,
            positions=positions if axes == 3 else positions[0],
            after=after,
            # The last token of an answer goes into no model: nothing follows it.
            continuations=tuple(
                (*suffix, *answer[:-1]) for suffix, answer in zip(prompt.suffixes, answers, strict=True)
            ),
        )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InvalidInputError(
                f"[calibration] expected images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {path}; got none; "
                "name a folder that has some"
            )
        return found
    if not path.is_file():
        raise InvalidInputError(
            f"[calibration] expected {path} to be an image or a folder of images; got nothing there; check "
            "the path"
        )
    return [path]


def _positions(prefix: Sequence[int], grid: tuple[int, int] | None) -> tuple[NDArray[np.int64], int]:
    """Positions of the prefix, (3, P): time, row and column; and that of the token behind it.

    Image rows share one time and have a row and a column; text counts on behind the largest of all.
    """
    count = len(prefix)
    if grid is None:
        return np.tile(np.arange(count), (3, 1)), count
    rows, columns = grid
    start = prefix.index(IMAGE_TOKEN)
    end = start + rows * columns
    after_image = start + max(rows, columns)
    places = np.empty((3, count), dtype=np.int64)
    places[:, :start] = np.arange(start)
    row, column = np.divmod(np.arange(rows * columns), columns)
    places[:, start:end] = start + np.stack((np.zeros_like(row), row, column))
    places[:, end:] = after_image + np.arange(count - end)
    return places, after_image + count - end


def _digits(spec: DigitCodecSpec, random: np.random.Generator) -> list[int]:
    codec = DigitCodec(
        places=list(spec.places),
        open=spec.open,
        zero=spec.zero,
        point=spec.point,
        comma=spec.comma,
        close=spec.close,
        digits=list(spec.digits),
    )
    return codec.encode([float(random.random() * (1 - 10.0**-places)) for places in spec.places])


def _blocks(spec: BinCodecSpec, names: Sequence[str], random: np.random.Generator) -> list[int]:
    """Box, 2-D and 3-D block about some joints, in the bundle's layout."""
    layout = spec.layout
    ids: list[int] = []

    def numbers(count: int, between: Sequence[int]) -> None:
        for number in range(count):
            ids.extend(between if number else ())
            ids.append(spec.bins[int(random.integers(len(spec.bins)))])

    for place, block in enumerate(layout.blocks):
        ids.extend(layout.between_blocks if place else ())
        ids.append(spec.markers[f"{block}_start"])
        if block == "box":
            ids.extend(layout.after_box_start)
            numbers(4, layout.between_box_numbers)
            ids.extend(layout.before_box_end)
        else:
            ids.extend(layout.after_start)
            for joint, name in enumerate(names):
                ids.extend(layout.between_joints if joint else ())
                ids.append(spec.joints[name])
                ids.extend(layout.after_name)
                numbers(2 if block == "kpt2d" else 3, layout.between_numbers)
            ids.extend(layout.before_end)
        ids.append(spec.markers[f"{block}_end"])
    return [*ids, *layout.after_blocks, spec.end]
