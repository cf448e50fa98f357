# SPDX-License-Identifier: Apache-2.0
"""Many pictures on one sheet, with their joints: for people to look at.

Annotations for programs do not belong here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from edgepose.errors import InvalidInputError

__all__ = ["contact_sheet"]

_COLORS = {0: None, 1: (255, 160, 0), 2: (0, 255, 90)}
"""Of joints that are outside, hidden, visible."""


def contact_sheet(
    images: Tensor,
    columns: int,
    path: str | os.PathLike[str],
    joints: Tensor | None = None,
    edges: Sequence[tuple[int, int]] = (),
) -> Path:
    """Write pictures side by side as a PNG.

    Args:
        images: `(B, H, W, 3)` uint8 RGB.
        columns: pictures per row, at least 1.
        path: file to write; its folder exists.
        joints: `(B, K, 3)` pixels and visibility as in `CropBatch`, drawn as dots; None for none.
        edges: pairs of joints to draw lines between.

    Returns:
        The path.

    Raises:
        InvalidInputError: there is no picture, or no column.
    """
    if images.ndim != 4 or not len(images) or columns < 1:
        raise InvalidInputError(
            f"[contact sheet] expected pictures (B, H, W, 3) and at least one column; got "
            f"{tuple(images.shape)} and {columns}; pass the images of a batch"
        )
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for place, picture in enumerate(images.cpu().numpy()):
        canvas = Image.fromarray(picture)
        if joints is not None:
            _draw(ImageDraw.Draw(canvas), joints[place].cpu(), edges)
        y, x = divmod(place, columns)
        sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = np.asarray(canvas)
    target = Path(path)
    Image.fromarray(sheet).save(target)
    return target


def _draw(pen: ImageDraw.ImageDraw, joints: Tensor, edges: Sequence[tuple[int, int]]) -> None:
    for first, second in edges:
        if min(float(joints[first, 2]), float(joints[second, 2])) > 0:
            pen.line([*map(float, joints[first, :2]), *map(float, joints[second, :2])], fill=(255, 255, 255))
    for x, y, seen in torch.as_tensor(joints).tolist():
        color = _COLORS[round(seen)]
        if color is not None:
            pen.ellipse([x - 1.5, y - 1.5, x + 1.5, y + 1.5], fill=color)
