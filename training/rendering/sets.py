# SPDX-License-Identifier: Apache-2.0
"""Rendered sets on disk: photographs in COCO's form, frames and clips in the 3-D form (see `annotations`).

Batches in memory do not belong here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.training.rendering.annotations import (
    annotation,
    camera_fields,
    image_entry,
    joints_field,
    write_annotations,
)
from edgepose.training.rendering.batches import FrameBatch
from edgepose.training.rendering.draws import Draws, SteadyDraws
from edgepose.training.rendering.frames import frame_batch, render_frames
from edgepose.training.rendering.labels import located, outline_boxes
from edgepose.training.rendering.landmarks import COCO17_RADII
from edgepose.training.rendering.motions import Motion, motion_between
from edgepose.training.rendering.people import People
from edgepose.training.rendering.pose_library import PoseLibrary
from edgepose.training.rendering.scene import draw_scene, render
from edgepose.training.rendering.sensor import expose
from edgepose.training.rendering.stage import Stage
from edgepose.training.rendering.views import PHOTOGRAPHS, View, draw_close_view, draw_view

__all__ = ["write_clip", "write_coco", "write_frames"]

Progress = Callable[[str, int, int], None]

_QUALITY = 95
_FEWEST = 100  # visible pixels of a person worth an annotation
_ALONE = Stage(company=(1.0,), occluded=0.0, in_front=0.0, tumbled=0.0, facing=1.0)


def write_coco(
    out_dir: str | os.PathLike[str],
    *,
    seed: int,
    count: int,
    poses: PoseLibrary,
    people: People | None = None,
    stage: Stage | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write whole pictures with one to three people each: `images/*.jpg` and `annotations.json`.

    Args:
        out_dir: folder to make.
        seed: the same seed gives the same people in the same places.
        count: how many pictures.
        poses: where poses come from.
        people: how much people differ; None for the usual.
        stage: what stands around; None for the usual.
        progress: called as `progress(stage, done, total)`.

    Returns:
        The path of the annotations.

    Raises:
        InvalidInputError: the folder holds something already, or there is nothing to write.
    """
    root = _new_folder(out_dir, count)
    draws = Draws(seed)
    entries: list[dict[str, Any]] = []
    annotated: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        width, height = PHOTOGRAPHS[int(draws.choice((1,), [1.0] * len(PHOTOGRAPHS)))]
        view = draw_view(draws, torch.tensor([[width, height]], dtype=torch.float32))
        scene = draw_scene(draws, view, poses, people or People(), stage or Stage())
        light, surface = render(draws, scene, view.projection, height, width)
        name = _save(root, number, expose(draws, light)[0])
        entries.append(image_entry(number, name, width, height))
        boxes, area = outline_boxes(scene, surface, (height, width))
        flesh = torch.tensor(COCO17_RADII) * scene.flesh[:, None]
        points = located(scene.coco17, flesh, scene.image, view.projection, surface, (height, width))
        for person in range(len(area)):
            if area[person] >= _FEWEST:
                found = annotation(
                    len(annotated) + 1, number, boxes[person], float(area[person]), points[person]
                )
                annotated.append(found)
        _report(progress, number, count)
    path = root / "annotations.json"
    write_annotations(path, entries, annotated, {"description": "rendered people", "seed": seed})
    return path


def write_frames(
    out_dir: str | os.PathLike[str],
    *,
    seed: int,
    count: int,
    poses: PoseLibrary,
    width: int = 640,
    height: int = 480,
    focal: tuple[float, float] = (450.0, 900.0),
    distance: tuple[float, float] = (0.4, 2.5),
    people: People | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write close-range frames with one annotated person each, in the 3-D form.

    Arguments, result and errors as `write_coco` and `render_frames`.
    """
    root = _new_folder(out_dir, count)
    generator = torch.Generator()
    generator.manual_seed(seed)
    entries: list[dict[str, Any]] = []
    annotated: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        batch = render_frames(
            generator,
            1,
            width=width,
            height=height,
            focal=focal,
            distance=distance,
            poses=poses,
            people=people,
        )
        _add_frame(root, number, batch, entries, annotated)
        _report(progress, number, count)
    path = root / "annotations.json"
    write_annotations(path, entries, annotated, {"description": "rendered close-range frames", "seed": seed})
    return path


def write_clip(
    out_dir: str | os.PathLike[str],
    *,
    seed: int,
    frames: int,
    fps: float,
    poses: PoseLibrary | Motion,
    width: int = 640,
    height: int = 480,
    focal: tuple[float, float] = (450.0, 900.0),
    distance: tuple[float, float] = (1.2, 2.5),
    progress: Progress | None = None,
) -> Path:
    """Write a clip: one person who moves in front of a fixed camera, in the 3-D form, one image per frame.

    Args:
        poses: a motion, or where the poses come from between which the person moves.
        fps: frames per second.

    Others, result and errors as `write_frames`.
    """
    root = _new_folder(out_dir, frames)
    if not fps > 0:
        raise InvalidInputError(
            f"[render] expected frames per second above 0; got {fps!r}; pass for example 30"
        )
    generator = torch.Generator()
    generator.manual_seed(seed)
    motion = poses if isinstance(poses, Motion) else motion_between(poses, generator, frames, fps)
    one = draw_close_view(Draws(generator), 1, width, height, focal, distance)
    sway = torch.arange(frames) / fps * 0.9
    moved = torch.stack([0.12 * sway.sin(), 0.0 * sway, 0.10 * (0.7 * sway).sin()], dim=1)
    repeated = seed ^ (1 << 61)  # of everything that is the same in all frames; on the same side of the split
    target = one.target + moved

    def taken(place: slice) -> tuple[View, Motion, Draws]:
        """The camera, the poses and the draws of some frames."""
        count = len(target[place])

        def same(values: Tensor) -> Tensor:
            return values.expand(count, *values.shape[1:])

        view = View(
            same(one.focal),
            same(one.principal),
            same(one.pitch),
            same(one.roll),
            target[place],
            same(one.focus),
        )
        return view, Motion(motion.poses[place]), SteadyDraws(repeated, count)

    # The floor lies below the lowest foot of the whole clip, things around where the person is on average.
    view, whole, draws = taken(slice(0, frames))
    ground = float(draw_scene(draws, view, whole, People(), _ALONE).floor.max())
    x, y, z = target.mean(0).tolist()
    stage = replace(_ALONE, ground=ground, anchor=(x, y, z))
    entries: list[dict[str, Any]] = []
    annotated: list[dict[str, Any]] = []
    for number in range(1, frames + 1):
        view, pose, draws = taken(slice(number - 1, number))
        scene = draw_scene(draws, view, pose, People(), stage)
        _add_frame(root, number, frame_batch(draws, scene, height, width, grain=number), entries, annotated)
        _report(progress, number, frames)
    path = root / "annotations.json"
    info = {"description": "rendered clip", "seed": seed, "frames_per_second": fps}
    write_annotations(path, entries, annotated, info)
    return path


def _new_folder(out_dir: str | os.PathLike[str], count: int) -> Path:
    root = Path(out_dir)
    if count < 1:
        raise InvalidInputError(f"[render] expected at least one picture; got {count}; ask for more")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InvalidInputError(
            f"[render] expected a folder that is new or empty; got {str(root)!r}; remove it or name another"
        )
    (root / "images").mkdir(parents=True)
    return root


def _save(root: Path, number: int, picture: Tensor) -> str:
    name = f"{number:06d}.jpg"
    Image.fromarray(picture.numpy()).save(root / "images" / name, quality=_QUALITY)
    return name


def _add_frame(
    root: Path, number: int, batch: FrameBatch, entries: list[dict[str, Any]], annotated: list[dict[str, Any]]
) -> None:
    height, width = batch.images.shape[1:3]
    entry = image_entry(number, _save(root, number, batch.images[0]), width, height)
    first, second = batch.principal[0].tolist()
    entries.append(entry | camera_fields(float(batch.focal[0]), (first, second)))
    if batch.area[0] > 0:
        person = annotation(len(annotated) + 1, number, batch.boxes[0], float(batch.area[0]), batch.coco17[0])
        annotated.append(person | joints_field(batch.xy[0], batch.xyz[0], batch.visible[0]))


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("render", done, total)
