# SPDX-License-Identifier: Apache-2.0
"""Cuts crops of people from pictures, with the published augmentation: scale, rotation, flip.

Where the pictures come from does not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.crop import SquareCrop

__all__ = ["Augmentation", "cut", "mirrored"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How crops are varied. Source: LocLLM, datasets/coco.py; the colours are an addition."""

    scale: float = 0.3
    """Standard deviation of the factor of the side."""
    scale_range: tuple[float, float] = (0.7, 1.3)
    rotation: float = 40.0
    """Largest angle, degrees."""
    rotated: float = 0.5
    """Share of crops that are rotated."""
    flipped: float = 0.5
    """Share of crops that are mirrored."""
    shift: float = 0.0
    """Largest shift of the centre, over the side."""
    colour: float = 0.2
    """Standard deviation of the gain of brightness, of contrast and, half of it, of each colour channel."""


def mirrored(names: Sequence[str]) -> NDArray[np.int64]:
    """Where each keypoint lies in a mirrored picture: `left wrist` at the place of `right wrist`, say."""
    places = {name: place for place, name in enumerate(names)}
    swapped = [_other_side(name) for name in names]
    return np.array([places.get(name, place) for place, name in enumerate(swapped)], np.int64)


def _other_side(name: str) -> str:
    side, _, part = name.partition(" ")
    return {"left": f"right {part}", "right": f"left {part}"}.get(side, name)


def cut(
    image: NDArray[np.uint8],
    joints: NDArray[np.float32],
    crop: SquareCrop,
    size: int,
    *,
    swap: NDArray[np.int64],
    augmentation: Augmentation | None = None,
    generator: np.random.Generator | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A crop and the joints in it.

    Args:
        image: (H, W, 3) RGB.
        joints: (K, 3) x, y in pixels of the image, and 1 where labelled.
        crop: The square without augmentation.
        size: Side of the result, pixels.
        swap: `mirrored(names)`.
        augmentation: How it is varied; None: not at all.
        generator: Where the numbers come from; as many are drawn whatever they do.

    Returns:
        (size, size, 3) uint8, and (K, 3): x and y over `size`, and 1 where the joint is labelled and inside.
    """
    import cv2

    factor, angle, flip, shift = 1.0, 0.0, False, np.zeros(2)
    if augmentation is not None and generator is not None:
        drawn = generator.standard_normal(), *generator.random(5)
        factor = float(np.clip(1 + augmentation.scale * drawn[0], *augmentation.scale_range))
        if drawn[1] < augmentation.rotated:
            angle = np.deg2rad(augmentation.rotation * (2 * drawn[2] - 1))
        flip = drawn[3] < augmentation.flipped
        shift = augmentation.shift * (2 * np.array(drawn[4:]) - 1)
    zoom = size / (crop.side * factor)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if flip:
        turn[0] *= -1
    centre = np.array([crop.center_x, crop.center_y]) + shift * crop.side
    matrix = np.column_stack((turn, size / 2 - turn @ centre))
    warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)
    placed = joints.copy()
    placed[:, :2] = (joints[:, :2] @ turn.T + matrix[:, 2]) / size
    if flip:
        placed = placed[swap]
    inside = ((placed[:, :2] >= 0) & (placed[:, :2] < 1)).all(1)
    placed[:, 2] = (placed[:, 2] > 0) & inside
    return np.asarray(warped, np.uint8), placed
