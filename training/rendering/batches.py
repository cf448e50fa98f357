# SPDX-License-Identifier: Apache-2.0
"""What rendering returns: pictures with the exact places of what is on them.

How they are made does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["CropBatch", "FrameBatch"]


@dataclass(frozen=True, slots=True)
class CropBatch:
    """Square crops around one person each. Pixels of the crop: centres at integers, x right, y down."""

    images: Tensor
    """(B, S, S, 3) uint8 RGB."""
    joints: Tensor
    """(B, 22, 3) float32, SMPL order: x, y in pixels; 0 outside the picture, 1 hidden, 2 visible."""
    coco17: Tensor
    """(B, 17, 3) float32, columns as `joints`."""
    mpii16: Tensor
    """(B, 16, 3) float32, columns as `joints`."""


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Whole images of a calibrated pinhole camera with one main person each."""

    images: Tensor
    """(B, H, W, 3) uint8 RGB."""
    xy: Tensor
    """(B, 22, 2) float32 pixels, SMPL order. A joint behind the camera is put just in front of it."""
    xyz: Tensor
    """(B, 22, 3) float32 metres, camera frame: x right, y down, z forward."""
    visible: Tensor
    """(B, 22) int8: 0 outside the picture, 1 hidden, 2 visible."""
    boxes: Tensor
    """(B, 4) float32 pixels: x, y, width, height around the main person's visible outline."""
    focal: Tensor
    """(B,) float32 pixels."""
    principal: Tensor
    """(B, 2) float32 pixels."""
    coco17: Tensor
    """(B, 17, 3) float32: x, y in pixels, visibility as `visible`."""
    area: Tensor
    """(B,) float32: how many pixels see the main person."""
