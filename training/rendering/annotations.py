# SPDX-License-Identifier: Apache-2.0
"""Annotation files of rendered sets: COCO's person keypoints, and the 3-D form, which adds to them.

The COCO form is that of COCO's `person_keypoints_*.json`: `images`, `annotations` with bbox (x, y, width,
height), area (visible pixels of the person), iscrowd 0, 17 keypoints (x, y, v; 0, 0, 0 outside the image) and
num_keypoints, and one category.

The 3-D form is the same file with more in it:

    images[i]       fx, fy, cx, cy      pixels, centres at integers; no lens distortion
    annotations[i]  joints              {name: {"xy": [x, y], "xyz": [X, Y, Z], "visible": 0 | 1 | 2}} by the
                                        22 names of SMPL; metres, camera frame: x right, y down, z forward
    info            frames_per_second   of clips

so that what reads COCO reads it, too. Pictures are not made here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from edgepose.keypoints import COCO17
from edgepose.skeleton import SMPL22

__all__ = ["SMALLEST", "annotation", "camera_fields", "image_entry", "joints_field", "write_annotations"]

SMALLEST = 32 * 32
"""Pixels: COCO annotates no keypoints of smaller people, and evaluates none."""

_DIGITS = 2  # of pixels
_MILLIMETRES = 4  # digits of metres: a tenth


def image_entry(number: int, file_name: str, width: int, height: int) -> dict[str, Any]:
    """An image of the COCO form."""
    return {"id": number, "file_name": file_name, "width": width, "height": height}


def camera_fields(focal: float, principal: tuple[float, float]) -> dict[str, float]:
    """What the 3-D form adds to an image."""
    return {
        "fx": round(focal, 4),
        "fy": round(focal, 4),
        "cx": round(principal[0], 4),
        "cy": round(principal[1], 4),
    }


def annotation(number: int, image: int, box: Tensor, area: float, coco17: Tensor) -> dict[str, Any]:
    """A person of the COCO form.

    Args:
        number: of the annotation.
        image: number of the image.
        box: (4,) x, y, width, height, pixels.
        area: visible pixels.
        coco17: (17, 3) x, y, visibility.
    """
    keypoints: list[float | int] = []
    labelled = 0
    for x, y, seen in coco17.tolist():
        known = seen > 0 and area >= SMALLEST
        labelled += known
        keypoints += [round(x, _DIGITS), round(y, _DIGITS), int(seen)] if known else [0, 0, 0]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [round(value, _DIGITS) for value in box.tolist()],
        "area": round(area, _DIGITS),
        "iscrowd": 0,
        "num_keypoints": labelled,
        "keypoints": keypoints,
    }


def joints_field(xy: Tensor, xyz: Tensor, visible: Tensor) -> dict[str, Any]:
    """What the 3-D form adds to a person: (22, 2), (22, 3) and (22,) as `FrameBatch` has them."""
    return {
        "joints": {
            name: {
                "xy": [round(value, _DIGITS) for value in xy[place].tolist()],
                "xyz": [round(value, _MILLIMETRES) for value in xyz[place].tolist()],
                "visible": int(visible[place]),
            }
            for place, name in enumerate(SMPL22.keypoints)
        }
    }


def write_annotations(
    path: Path, images: list[dict[str, Any]], people: list[dict[str, Any]], info: dict[str, Any]
) -> None:
    """Write the file; `info` says how the set was made."""
    names = list(COCO17.keypoints)
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": [name.replace(" ", "_") for name in names],
        "skeleton": [[names.index(first) + 1, names.index(second) + 1] for first, second in COCO17.edges],
    }
    content = {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": people,
        "categories": [category],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
