# SPDX-License-Identifier: Apache-2.0
"""Shows the built-in models: on rendered people that ship with the package, or on a picture of the user's.

What a model can do is measured by `edgepose.evaluation`, not here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.bundle import Progress
from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.images import load_image
from edgepose.localizer import Localizer
from edgepose.results import Localization
from edgepose.video import ClipWriter, FrameReader

__all__ = ["COMMAND", "Shown", "show_models", "show_picture"]

COMMAND = "Please shake my hand"
"""What the model that takes commands is asked."""

_ASSETS = Path(__file__).parent / "assets" / "demo"
_KEYPOINTS_MODEL, _COMMANDS_MODEL = "posellm-nano", "taihri-nano"


@dataclass(frozen=True, slots=True)
class Shown:
    """One file that was written, and what is on it."""

    file: Path
    model: str
    text: str
    """What was asked and how far from the truth the answer is."""
    located: Localization
    """The answer; of a clip that of its last frame."""


def show_models(
    out: str | os.PathLike[str], *, threads: int | None = None, progress: Progress | None = None
) -> Iterator[Shown]:
    """Answer about the frames that ship with the package.

    Args:
        out: folder for the pictures and the clip; made where it is missing.
        threads: CPU threads; None takes all cores.
        progress: as `Localizer.locate`'s.

    Yields:
        What was written, one after the other: 17 keypoints of people, the joints for a handshake in metres,
        and a clip.

    Raises:
        InvalidInputError: the folder cannot be made.
    """
    folder = _folder(out)
    localizer = Localizer(_KEYPOINTS_MODEL, threads=threads, progress=progress)
    image, entries = _scene("people")
    found = localizer.locate(image, boxes=[entry["bbox"] for entry in entries], progress=progress)
    text = f"17 keypoints of {len(entries)} people; median error {_pixels_off(found, entries):.1f} px"
    yield _drawn(folder / "people.png", _KEYPOINTS_MODEL, text, image, found)

    robot = Localizer(_COMMANDS_MODEL, threads=threads, progress=progress)
    image, entries = _scene("handshake")
    found = robot.ask(image, COMMAND, camera=_camera("handshake"), progress=progress)
    off = _metres_off(found, entries)
    text = f"{COMMAND!r}: {', '.join(found[0].names) or 'no joint'}; median error {100 * off:.0f} cm"
    yield _drawn(folder / "handshake.png", _COMMANDS_MODEL, text, image, found)

    first = _annotations("clip")["annotations"][0]
    with FrameReader(_ASSETS / "clip" / "images") as frames:
        with ClipWriter(
            folder / "clip.mp4", frames.size, _annotations("clip")["info"]["frames_per_second"]
        ) as clip:
            kept = 0
            pictures = list(frames)
            for picture, found in zip(
                pictures, localizer.track(pictures, boxes=[first["bbox"]], progress=progress), strict=True
            ):
                kept += found.drafts.accepted
                clip.write(found.draw(picture))
    text = f"{len(pictures)} frames; {kept} tokens taken over from the frame before"
    yield Shown(folder / "clip.mp4", _KEYPOINTS_MODEL, text, found)


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
        out: folder for the picture.
        boxes: people's boxes, (x, y, width, height), pixels; none: the whole picture is one person.
        threads: CPU threads; None takes all cores.
        progress: as `Localizer.locate`'s.

    Raises:
        InvalidInputError: the image or a box cannot be used, or the folder cannot be made.
    """
    folder, pixels = _folder(out), load_image(image)
    height, width = pixels.shape[:2]
    localizer = Localizer(_KEYPOINTS_MODEL, threads=threads, progress=progress)
    found = localizer.locate(pixels, boxes=boxes or [(0, 0, width, height)], progress=progress)
    file = folder / f"{Path(image).stem}.png"
    return _drawn(file, _KEYPOINTS_MODEL, f"17 keypoints, {len(found)} boxes", pixels, found)


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
    """A rendered set in the form that `edgepose render` writes."""
    value: dict[str, Any] = json.loads((_ASSETS / name / "annotations.json").read_text(encoding="utf-8"))
    return value


def _scene(name: str) -> tuple[Any, list[dict[str, Any]]]:
    """The one picture of a set, and its people."""
    value = _annotations(name)
    return load_image(_ASSETS / name / "images" / value["images"][0]["file_name"]), value["annotations"]


def _camera(name: str) -> Camera:
    entry = _annotations(name)["images"][0]
    return Camera(**{key: entry[key] for key in ("fx", "fy", "cx", "cy", "width", "height")})


def _pixels_off(found: Localization, entries: Sequence[dict[str, Any]]) -> float:
    """Median distance of what is visible."""
    truth = np.array([entry["keypoints"] for entry in entries], dtype=np.float64).reshape(len(entries), -1, 3)
    off = np.linalg.norm(np.stack([pose.xy for pose in found]) - truth[..., :2], axis=-1)
    return float(np.nanmedian(off[truth[..., 2] == 2]))


def _metres_off(found: Localization, entries: Sequence[dict[str, Any]]) -> float:
    """Median distance of the joints that the model chose."""
    joints = entries[0]["joints"]
    off = [np.linalg.norm(point.xyz - np.array(joints[point.name]["xyz"])) for point in found[0]]
    return float(np.median(off)) if off else float("nan")


def _drawn(file: Path, model: str, text: str, image: Any, found: Localization) -> Shown:
    import cv2

    cv2.imwrite(str(file), cv2.cvtColor(found.draw(image), cv2.COLOR_RGB2BGR))
    return Shown(file, model, text, found)
