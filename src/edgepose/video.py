# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file, a folder of images or a camera, one after the other; and clips of annotated frames.

What is found in the frames does not belong here, nor how it is drawn: see `edgepose.drawing`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import BackendUnavailableError, InvalidInputError
from edgepose.images import load_image

if TYPE_CHECKING:
    import cv2

__all__ = ["CLIP_CODECS", "IMAGE_SUFFIXES", "ClipWriter", "FrameReader"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Files of a folder that count as frames."""

CLIP_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
"""How clips are written, by the suffix of the file: OpenCV's four characters."""

_FPS = 30.0  # where nothing says how fast frames follow


class FrameReader:
    """The frames of a source in order; iterable once, more often where the source is a file or a folder.

    Args:
        source: a video file; a folder, whose images are taken in the order of their names, numbers in them
            by value; or the index of a camera, whose frames do not end.

    Raises:
        InvalidInputError: there is no such source, or OpenCV cannot read it.

    Example:
        >>> with FrameReader("walk.mp4") as frames:                                      # doctest: +SKIP
        ...     poses = list(localizer.track(frames, boxes=[(100, 50, 80, 200)]))
    """

    size: tuple[int, int]
    """(width, height) of the frames, pixels; of the first one where they differ."""

    fps: float
    """Frames per second; 30 where the source does not say."""

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        self._source = source
        self._images: list[Path] = []
        self._capture: cv2.VideoCapture | None = None
        self._count = 0
        if not isinstance(source, int) and Path(source).is_dir():
            self._images = _images_of(Path(source))
            height, width = load_image(self._images[0]).shape[:2]
            self.size, self.fps, self._count = (width, height), _FPS, len(self._images)
            return
        self._capture = _opened(source)
        width, height, fps, count = _properties(self._capture)
        self.size = width, height
        self.fps = fps if math.isfinite(fps) and fps > 0 else _FPS
        # Cameras have no count, and some containers an impossible one.
        self._count = max(0, int(count)) if not isinstance(source, int) and math.isfinite(count) else 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """`(H, W, 3)` uint8 RGB, one frame at a time."""
        if self._capture is None:
            for path in self._images:
                yield load_image(path)
            return
        import cv2

        if not isinstance(self._source, int) and self._capture.get(cv2.CAP_PROP_POS_FRAMES) > 0:
            self._capture.release()
            self._capture = _opened(self._source)
        while True:
            read, frame = self._capture.read()
            if not read:
                return
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def __length_hint__(self) -> int:
        """Frames, as far as the source knows; 0 where it does not, or never ends."""
        return self._count

    def close(self) -> None:
        """Let go of the file or camera."""
        if self._capture is not None:
            self._capture.release()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        frames = f"{self._count} frames, " if self._count else ""
        width, height = self.size
        return f"FrameReader({str(self._source)!r}, {frames}{width}x{height} px, {self.fps:g} fps)"


class ClipWriter:
    """Writes frames as a video file, which is there, whole, once it is closed.

    As a context manager it closes at the end, and leaves no file when the block was left by an error.

    Args:
        path: file to write, `.mp4` (MPEG-4) or `.avi` (Motion JPEG).
        size: (width, height) of the frames, pixels; encoders drop the last row or column of an odd one.
        fps: frames per second.

    Raises:
        InvalidInputError: another suffix, no such directory, or a size or speed that cannot be.
        BackendUnavailableError: this build of OpenCV has no encoder for it.
    """

    def __init__(self, path: str | os.PathLike[str], size: tuple[int, int], fps: float = _FPS) -> None:
        import cv2

        self._path = Path(path)
        self._size = int(size[0]), int(size[1])
        codec = CLIP_CODECS.get(self._path.suffix.lower())
        if codec is None:
            raise InvalidInputError(
                f"[clip] expected a file ending in {' or '.join(CLIP_CODECS)}; got {str(path)!r}; rename it"
            )
        if not self._path.parent.is_dir():
            raise InvalidInputError(
                f"[clip] expected a directory to write in; got {str(path)!r}; make {self._path.parent} first"
            )
        if min(self._size) < 2 or not (math.isfinite(fps) and fps > 0):
            raise InvalidInputError(
                f"[clip] expected frames of at least 2x2 px and a speed above 0; got {self._size[0]}x"
                f"{self._size[1]} px at {fps!r} fps; pass (width, height) and frames per second"
            )
        self._partial = self._path.with_name(f".{self._path.stem}.{os.getpid()}{self._path.suffix}")
        self._writer: Any = cv2.VideoWriter(
            str(self._partial), cv2.VideoWriter.fourcc(*codec), float(fps), self._size
        )
        if not self._writer.isOpened():
            self._partial.unlink(missing_ok=True)
            others = [suffix for suffix in CLIP_CODECS if suffix != self._path.suffix.lower()]
            raise BackendUnavailableError(
                f"[clip] expected OpenCV to encode {codec} for {str(path)!r}; got a build without it; write "
                f"{' or '.join(others)}, or install opencv-python-headless, which brings FFmpeg"
            )

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, `(H, W, 3)` uint8 RGB of the clip's size.

        Raises:
            InvalidInputError: it has another size.
        """
        import cv2

        pixels = load_image(frame)
        height, width = pixels.shape[:2]
        if (width, height) != self._size:
            raise InvalidInputError(
                f"[clip] expected frames of {self._size[0]}x{self._size[1]} px; got {width}x{height} px; "
                "resize it, all frames of a clip are of one size"
            )
        self._writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()
        if self._partial.exists():
            self._partial.replace(self._path)

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        self._writer.release()
        self._partial.unlink(missing_ok=True)


def _images_of(folder: Path) -> list[Path]:
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise InvalidInputError(
            f"[frames] expected a folder with images ({', '.join(sorted(IMAGE_SUFFIXES))}); got "
            f"{str(folder)!r}, which has none; check the path"
        )
    return sorted(images, key=lambda path: _by_value(path.name))


def _by_value(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _opened(source: str | os.PathLike[str] | int) -> cv2.VideoCapture:
    import cv2

    if not isinstance(source, int) and not Path(source).is_file():
        raise InvalidInputError(
            f"[frames] expected a video file, a folder of images or the index of a camera; got "
            f"{str(source)!r}, which is not there; check the path"
        )
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    if not capture.isOpened():
        remedy = "check that it is connected" if isinstance(source, int) else "convert it to MP4"
        raise InvalidInputError(
            f"[frames] expected a source that OpenCV can open; got {str(source)!r}; {remedy}"
        )
    return capture


def _properties(capture: cv2.VideoCapture) -> tuple[int, int, float, float]:
    import cv2

    width, height, fps, count = (
        capture.get(name)
        for name in (
            cv2.CAP_PROP_FRAME_WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT,
            cv2.CAP_PROP_FPS,
            cv2.CAP_PROP_FRAME_COUNT,
        )
    )
    return int(width), int(height), float(fps), float(count)
