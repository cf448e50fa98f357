# SPDX-License-Identifier: Apache-2.0
"""Batches of crops with the keypoints that are known in them, out of photographs and rendered people.

What is asked about a crop does not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepose.crop import SquareCrop
from edgepose.errors import InvalidInputError
from edgepose.evaluation.lsp import joints_box
from edgepose.export.families.views import CLIP_MEAN, CLIP_STD
from edgepose.keypoints import COCO17
from edgepose.training.photographs import Augmentation, Photographs, cut, mirrored

__all__ = ["NAMES", "CropBatch", "CropSource", "Mixture", "normalise"]

NAMES = (*COCO17.keypoints, "neck", "head_top", "pelvis", "thorax")
"""Keypoints that a model is trained for."""


@dataclass(frozen=True, slots=True)
class CropBatch:
    """Crops and the places of `NAMES` in them."""

    images: Tensor
    """(B, S, S, 3) uint8 RGB."""
    joints: Tensor
    """(B, 21, 3) float32: x and y over the side, and 1 where the place is known and inside the crop."""
    colours: Tensor
    """(B, 5) float32: gains of brightness, contrast and the three channels; 1 leaves a crop as it is."""

    def to(self, device: torch.device) -> CropBatch:
        """The batch on a device."""
        return CropBatch(self.images.to(device), self.joints.to(device), self.colours.to(device))


class CropSource:
    """Pictures with one person each, and how crops are cut from them."""

    def __init__(
        self, pictures: Photographs, *, augmentation: Augmentation | None, cropped: bool = False
    ) -> None:
        """
        Args:
            pictures: The pictures.
            augmentation: How crops are varied; None: not at all.
            cropped: Whether a picture is a crop already; otherwise it is cut around the person.
        """
        self._pictures, self._augmentation = pictures, augmentation
        self._swap = mirrored(pictures.names)
        unknown = [name for name in pictures.names if name not in NAMES]
        if unknown:
            raise InvalidInputError(
                f"[crops] expected keypoints out of {', '.join(NAMES)}; got {', '.join(unknown)}; leave them "
                "out"
            )
        self._places = [NAMES.index(name) for name in pictures.names]
        self._crops: list[tuple[int, SquareCrop]] = []
        for number, (joints, size) in enumerate(zip(pictures.joints, pictures.sizes, strict=True)):
            width, height = int(size[0]), int(size[1])
            if cropped:
                self._crops.append((number, SquareCrop(width / 2, height / 2, max(width, height))))
            elif (known := joints[:, 2] > 0).sum() >= 2:
                try:
                    crop = SquareCrop.from_box(joints_box(joints[known, :2]), (width, height))
                except InvalidInputError:
                    continue  # an annotation outside its picture
                self._crops.append((number, crop))

    def __len__(self) -> int:
        return len(self._crops)

    def take(
        self, places: Sequence[int], size: int, generator: np.random.Generator | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """Crops by number: pictures, joints and colours as in `CropBatch`."""
        images = np.empty((len(places), size, size, 3), np.uint8)
        joints = np.zeros((len(places), len(NAMES), 3), np.float32)
        colours = np.ones((len(places), 5), np.float32)
        varied = self._augmentation if generator is not None else None
        for row, place in enumerate(places):
            number, crop = self._crops[place]
            images[row], joints[row, self._places] = cut(
                self._pictures.images[number],
                self._pictures.joints[number],
                crop,
                size,
                swap=self._swap,
                augmentation=varied,
                generator=generator,
            )
            if varied is not None and generator is not None:
                spread = varied.colour * np.array([1, 1, 0.5, 0.5, 0.5])
                colours[row] = np.clip(1 + spread * generator.standard_normal(5), 0.4, 1.8)
        return images, joints, colours


class Mixture:
    """Draws from several sources, each with its share."""

    def __init__(self, sources: Sequence[tuple[CropSource, float]]) -> None:
        self._sources = [(source, share) for source, share in sources if share > 0 and len(source)]
        if not self._sources:
            raise InvalidInputError(
                "[crops] expected at least one source with pictures; got none; name photographs or motion "
                "capture"
            )

    def batch(self, count: int, size: int, generator: torch.Generator) -> CropBatch:
        """Draws a batch."""
        seed = int(torch.randint(0, 2**62, (), generator=generator))
        numbers = np.random.default_rng(seed)
        shares = np.array([share for _, share in self._sources])
        ends = np.round(np.cumsum(shares) / shares.sum() * count).astype(int)
        parts = []
        for (source, _), number in zip(self._sources, np.diff(ends, prepend=0), strict=True):
            parts.append(source.take(numbers.integers(0, len(source), number).tolist(), size, numbers))
        return CropBatch(*(torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True)))


def normalise(batch: CropBatch) -> Tensor:
    """Pixels as the vision encoder takes them, (B, 3, S, S) float32, colours varied."""
    x = batch.images.permute(0, 3, 1, 2).to(torch.float32) / 255
    brightness, contrast, channels = batch.colours[:, :1], batch.colours[:, 1:2], batch.colours[:, 2:]
    gain = (brightness * contrast * channels)[:, :, None, None]
    mean = x.mean((1, 2, 3), keepdim=True) * (brightness * (1 - contrast))[:, :, None, None]
    x = (x * gain + mean).clamp(0, 1)
    centre, width = x.new_tensor(CLIP_MEAN), x.new_tensor(CLIP_STD)
    return (x - centre[:, None, None]) / width[:, None, None]
