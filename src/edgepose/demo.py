# SPDX-License-Identifier: Apache-2.0
"""Shows the built-in models: on rendered people that ship with the package, or on a picture of the user's.

What they can do is measured by `edgepose.evaluation`, not here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.builtin import DEFAULT_MODEL, METRIC_MODEL
from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.images import load_image
from edgepose.localizer import Localizer
from edgepose.progress import Progress
from edgepose.results import Localization
from edgepose.video import ClipWriter, FrameReader

__all__ = ["Shown", "show_frames", "show_picture"]

_ASSETS = Path(__file__).parent / "assets" / "demo"
_COMMAND = "Please shake my right hand."


@dataclass(frozen=True, slots=True)
class Shown:
    """One file that was written, and what is on it."""

    file: Path
    model: str
    """Name of the built-in model."""
    text: str
    """What was asked and how far from the truth the answer is."""
    located: Localization
    """The answer; of a clip that of its last frame."""


def show_frames(
    out: str | os.PathLike[str], *, threads: int | None = None, progress: Progress | None = None
) -> list[Shown]:
    """Answer about the frames that ship with the package.

    Args:
        out: folder for the picture and the clip; made where it is missing.
        threads: CPU threads; None takes all cores.
        progress: as `Localizer.locate`'s.

    Returns:
        What was written: 17 keypoints of people, a clip, and what a command is about, in metres.

    Raises:
        InvalidInputError: the folder cannot be written to.
    """
    folder = _folder(out)
    localizer = Localizer(threads=threads, progress=progress)
    return [
        _show_people(folder, localizer, progress),
        _show_clip(folder, localizer, progress),
        _show_command(folder, Localizer(METRIC_MODEL, threads=threads, progress=progress), progress),
    ]


def show_picture(
    image: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    boxes: Sequence[Sequence[float]] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Shown:
    """Locate 17 keypoints of each person in a picture and draw them.

    Args:
        image: path of an image.
        out: folder for the picture, which is called as the image is and a PNG.
        boxes: people's boxes, (x, y, width, height), pixels; none: the whole picture is one person.
        threads: CPU threads; None takes all cores.
        progress: as `Localizer.locate`'s.

    Raises:
        InvalidInputError: the image or a box cannot be used, the folder cannot be written to, or the picture
            would take the image's place.
    """
    folder, pixels = _folder(out), load_image(image)
    file = folder / f"{Path(image).stem}.png"
    if file.exists() and file.samefile(image):
        raise InvalidInputError(
            f"[demo] expected a folder that the image is not in; got {str(out)!r}, where the picture would "
            f"replace {str(image)!r}; name another"
        )
    height, width = pixels.shape[:2]
    localizer = Localizer(threads=threads, progress=progress)
    found = localizer.locate(pixels, boxes=boxes or [(0, 0, width, height)], progress=progress)
    return _drawn(file, DEFAULT_MODEL, f"17 keypoints, {len(found)} boxes", pixels, found)


def _show_people(folder: Path, localizer: Localizer, progress: Progress | None) -> Shown:
    described = _annotations("people")
    people = described["annotations"]
    image = load_image(_ASSETS / "people" / "images" / described["images"][0]["file_name"])
    found = localizer.locate(image, boxes=[person["bbox"] for person in people], progress=progress)
    text = f"17 keypoints of {len(people)} people; median error {_pixels_off(found, people):.1f} px"
    return _drawn(folder / "people.png", DEFAULT_MODEL, text, image, found)


def _show_clip(folder: Path, localizer: Localizer, progress: Progress | None) -> Shown:
    described = _annotations("clip")
    reader = FrameReader(_ASSETS / "clip" / "images")
    frames, file = list(reader), folder / "clip.mp4"
    boxes = [described["annotations"][0]["bbox"]]
    kept, found = 0, Localization()
    with ClipWriter(file, reader.size, described["info"]["frames_per_second"]) as clip:
        tracked = localizer.track(frames, boxes=boxes, progress=progress)
        for frame, found in zip(frames, tracked, strict=True):
            kept += found.drafts.accepted
            clip.write(found.draw(frame))
    text = f"{len(frames)} frames; {kept} tokens taken over from the frame before"
    return Shown(file, DEFAULT_MODEL, text, found)


def _show_command(folder: Path, localizer: Localizer, progress: Progress | None) -> Shown:
    described = _annotations("frame")
    (taken,), (person,) = described["images"], described["annotations"]
    image = load_image(_ASSETS / "frame" / "images" / taken["file_name"])
    camera = Camera(**{name: taken[name] for name in ("fx", "fy", "cx", "cy", "width", "height")})
    found = localizer.ask(image, _COMMAND, camera=camera, progress=progress)
    off = [
        np.linalg.norm(keypoint.xyz - np.array(person["joints"][keypoint.name]["xyz"]))
        for pose in found
        for keypoint in pose
        if keypoint.valid and keypoint.name in person["joints"]
    ]
    error = f"mean error {100 * np.mean(off):.0f} cm" if off else "no joint found"
    text = f'"{_COMMAND}": {len(off)} joints in metres; {error}'
    return _drawn(folder / "command.png", METRIC_MODEL, text, image, found)


def _folder(out: str | os.PathLike[str]) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"[demo] expected a folder to write to; got {str(out)!r} ({error}); name another"
        ) from error
    return folder


def _annotations(name: str) -> dict[str, Any]:
    """A set in the form that `edgepose render` writes."""
    value: dict[str, Any] = json.loads((_ASSETS / name / "annotations.json").read_text(encoding="utf-8"))
    return value


def _pixels_off(found: Localization, entries: Sequence[dict[str, Any]]) -> float:
    """Median distance of what is visible."""
    truth = np.array([entry["keypoints"] for entry in entries], dtype=np.float64).reshape(len(entries), -1, 3)
    off = np.linalg.norm(np.stack([pose.xy for pose in found]) - truth[..., :2], axis=-1)
    return float(np.nanmedian(off[truth[..., 2] == 2]))


def _drawn(file: Path, model: str, text: str, image: NDArray[np.uint8], found: Localization) -> Shown:
    import cv2

    if not cv2.imwrite(str(file), cv2.cvtColor(found.draw(image), cv2.COLOR_RGB2BGR)):
        raise InvalidInputError(
            f"[demo] expected a folder that can be written to; got {str(file.parent)!r}; name another"
        )
    return Shown(file, model, text, found)
