# SPDX-License-Identifier: Apache-2.0
"""Rendered people as a store of pictures, drawn once in parts that are kept in files.

How people are drawn belongs to `edgepose.training.rendering`; how crops are varied, to the sources of crops.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgepose.keypoints import COCO17, MPII16
from edgepose.training.photographs import Photographs
from edgepose.training.posellm.crops import NAMES
from edgepose.training.rendering import PoseLibrary, render_crops

__all__ = ["TEST_SUBJECTS", "TRAINING_SUBJECTS", "pose_library", "rendered_people"]

TRAINING_SUBJECTS = ("01", "02")
"""People of the motion capture whose poses are trained on."""
TEST_SUBJECTS = ("03",)
"""The one who is kept for evaluation."""

_PART = 500
"""Crops of one file."""


def pose_library(mocap: str | os.PathLike[str] | None, *, test: bool = False) -> PoseLibrary:
    """Poses to draw: half of them recorded where there is motion capture, the others within the limits of
    joints; for a test recorded ones of another person alone."""
    if mocap is None:
        return PoseLibrary.priors()
    if test:
        return PoseLibrary.from_mocap(mocap, subjects=TEST_SUBJECTS)
    recorded = PoseLibrary.from_mocap(mocap, subjects=TRAINING_SUBJECTS)
    return PoseLibrary.mixed((1.0, recorded), (1.0, PoseLibrary.priors()))


def rendered_people(
    count: int,
    *,
    seed: int,
    size: int,
    poses: PoseLibrary,
    label: str,
    augment: bool = True,
    device: str = "cpu",
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Photographs:
    """Draws crops of rendered people, or reads what an earlier call with the same numbers drew.

    Args:
        count: How many.
        seed: Of the first part; later parts count up from it.
        size: Side of a crop, pixels.
        poses: Poses to draw.
        label: Says which poses these are, for the names of the files.
        augment: As `edgepose.training.rendering.render_crops`.
        device: Where to draw.
        cache: Directory for the parts; default: nothing is kept.
        progress: Called with the stage, crops done and crops in all.

    Returns:
        Crops with `NAMES`; a keypoint is labelled whether it is seen or hidden.
    """
    columns = [
        *(("coco17", COCO17.keypoints.index(name)) for name in COCO17.keypoints),
        *(("mpii16", MPII16.keypoints.index(name)) for name in NAMES[len(COCO17) :]),
    ]
    images = np.empty((count, size, size, 3), np.uint8)
    joints = np.zeros((count, len(NAMES), 3), np.float32)
    for begin in range(0, count, _PART):
        file = None if cache is None else cache / f"{label}_{size}_{seed + begin // _PART}.npz"
        if file is not None and file.is_file():
            with np.load(file) as stored:
                pictures, places = stored["images"], stored["joints"]
        else:
            number = seed + begin // _PART
            drawn = render_crops(number, _PART, size=size, poses=poses, augment=augment, device=device)
            pictures = drawn.images.cpu().numpy()
            sets = {"coco17": drawn.coco17.cpu().numpy(), "mpii16": drawn.mpii16.cpu().numpy()}
            places = np.stack([sets[name][:, column] for name, column in columns], 1)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                draft = file.with_suffix(".tmp.npz")
                np.savez(draft, images=pictures, joints=places)
                draft.replace(file)
        end = min(count, begin + _PART)
        images[begin:end], joints[begin:end] = pictures[: end - begin], places[: end - begin]
        if progress is not None:
            progress("rendered people", end, count)
    joints[..., 2] = joints[..., 2] > 0
    sizes = np.full((count, 2), size, np.int64)
    return Photographs(NAMES, images, sizes, joints)
