# SPDX-License-Identifier: Apache-2.0
"""Frames of files, folders and cameras, and clips that read back."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.errors import BackendUnavailableError, InvalidInputError
from edgepose.video import CLIP_CODECS, ClipWriter, FrameReader


def picture(number: int, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """A bright square on one third of each channel, further right in each frame."""
    width, height = size
    pixels = np.full((height, width, 3), (200, 90, 30), np.uint8)
    pixels[8:24, 8 + 8 * number : 24 + 8 * number] = (20, 240, 120)
    return pixels


def write(path: Path, count: int = 4, size: tuple[int, int] = (64, 48), fps: float = 12.0) -> Path:
    with ClipWriter(path, size, fps) as clip:
        for number in range(count):
            clip.write(picture(number, size))
    return path


@pytest.mark.parametrize("suffix", sorted(CLIP_CODECS))
def test_a_clip_reads_back(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"clip{suffix}")
    with FrameReader(path) as frames:
        assert frames.size == (64, 48) and frames.fps == pytest.approx(12)
        assert operator.length_hint(frames) == 4
        read = list(frames)
        again = list(frames)
    assert [path.name for path in tmp_path.iterdir()] == [path.name]
    assert len(read) == len(again) == 4
    for number, frame in enumerate(read):
        assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8
        assert np.abs(frame.astype(int) - picture(number)).mean() < 12  # lossy, but red is red
        np.testing.assert_array_equal(frame, again[number])


def test_odd_sizes_lose_a_line_at_most(tmp_path: Path) -> None:
    width, height = FrameReader(write(tmp_path / "odd.mp4", size=(65, 49))).size
    assert width in (64, 65) and height in (48, 49)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1, 0):
        cv2.imwrite(str(tmp_path / f"frame_{number}.png"), np.full((6, 8, 3), 10 * number, np.uint8))
    (tmp_path / "notes.txt").write_text("no frame")
    frames = FrameReader(str(tmp_path))
    assert frames.size == (8, 6) and operator.length_hint(frames) == 4 and frames.fps == 30
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 10, 90, 100]
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 10, 90, 100]
    assert repr(frames) == f"FrameReader({str(tmp_path)!r}, 4 frames, 8x6 px, 30 fps)"


class FakeCamera:
    """Three frames, then unplugged; says of itself what some drivers do."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.left = 3
        self.released = False

    def isOpened(self) -> bool:
        return bool(self.source == 0)

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 8.0, cv2.CAP_PROP_FRAME_HEIGHT: 6.0, cv2.CAP_PROP_FPS: 0.0}.get(
            name, -1.0
        )

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, np.full((6, 8, 3), (1, 2, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_camera_goes_on_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    with FrameReader(0) as frames:
        assert frames.size == (8, 6) and frames.fps == 30 and operator.length_hint(frames) == 0
        assert [frame[0, 0].tolist() for frame in frames] == [[3, 2, 1]] * 3
    with pytest.raises(InvalidInputError, match=r"\[frames\].*got '1'; check that it is connected"):
        FrameReader(1)


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\[frames\].*'absent.mp4', which is not there"):
        FrameReader("absent.mp4")
    with pytest.raises(InvalidInputError, match=r"expected a folder with images.*which has none"):
        FrameReader(tmp_path)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(InvalidInputError, match=r"expected a source that OpenCV can open"):
        FrameReader(broken)


def test_clips_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match=r"ending in .mp4 or .avi; got 'clip.gif'"):
        ClipWriter("clip.gif", (8, 8))
    with pytest.raises(InvalidInputError, match=r"make .*nowhere first"):
        ClipWriter(tmp_path / "nowhere" / "clip.mp4", (8, 8))
    with pytest.raises(InvalidInputError, match=r"got 8x0 px at 30"):
        ClipWriter(tmp_path / "clip.mp4", (8, 0))
    with pytest.raises(InvalidInputError, match=r"at nan fps"):
        ClipWriter(tmp_path / "clip.mp4", (8, 8), float("nan"))
    with (
        pytest.raises(InvalidInputError, match=r"frames of 64x48 px; got 32x48 px"),
        ClipWriter(tmp_path / "clip.mp4", (64, 48)) as clip,
    ):
        clip.write(picture(0, (32, 48)))
    assert list(tmp_path.iterdir()) == []

    class Missing:
        def __init__(self, *_: Any) -> None:
            pass

        def isOpened(self) -> bool:
            return False

    Missing.fourcc = staticmethod(cv2.VideoWriter.fourcc)  # type: ignore[attr-defined]
    monkeypatch.setattr(cv2, "VideoWriter", Missing)
    with pytest.raises(BackendUnavailableError, match=r"\[clip\] expected OpenCV to encode mp4v.*write .avi"):
        ClipWriter(tmp_path / "clip.mp4", (8, 8))
