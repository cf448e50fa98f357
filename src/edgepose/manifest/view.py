# SPDX-License-Identifier: Apache-2.0
"""What the vision encoder sees: a square crop of a person, or a whole frame at one focal length.

Cutting and resizing images does not belong here: see `edgepose.crop` and `edgepose.frame`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.manifest.checks import Check

__all__ = ["CropSpec", "FrameSpec", "PatchGridSpec", "VisionSpec"]


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How a box of an image becomes the pixels of the vision encoder."""

    size: int
    """Side of the square crop, pixels."""
    scale: float
    """Side of the square in the image over the longer side of the box."""
    mean: tuple[float, ...]
    """(3,) RGB, subtracted after division by 255."""
    std: tuple[float, ...]
    """(3,) RGB, divided by last."""

    @property
    def summary(self) -> str:
        """In a few words."""
        return f"square crop of {self.size} px, {self.scale:g} times the box"

    def check(self, check: Check) -> None:
        """Note what does not fit."""
        check.within("crop.size", self.size, 1, 8192)
        check.within("crop.scale", self.scale, 0.01, 100)
        _check_normalisation("crop", self.mean, self.std, check)


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """How a whole image becomes the patches of the vision encoder: see `edgepose.frame.FocalFrame`."""

    canonical_focal: float
    """Focal length to which images are scaled, pixels."""
    patch_size: int
    """Side of one patch, pixels."""
    merge: int
    """Patches along one side of the square that becomes one image token."""
    min_pixels: int
    """Fewest pixels of the encoder's input."""
    max_pixels: int
    """Most pixels of the encoder's input."""
    mean: tuple[float, ...]
    """(3,) RGB, subtracted after division by 255."""
    std: tuple[float, ...]
    """(3,) RGB, divided by last."""
    crop: int | None = None
    """Sides of the scaled image longer than this are cut to it around the centre, pixels."""

    @property
    def factor(self) -> int:
        """Side of the square that becomes one image token, pixels."""
        return self.patch_size * self.merge

    @property
    def summary(self) -> str:
        """In a few words."""
        cut = "whole" if self.crop is None else f"cut to {self.crop} px"
        pixels = f"{self.min_pixels / 1e6:.3g} to {self.max_pixels / 1e6:.3g} Mpx"
        return f"frame at focal length {self.canonical_focal:g} px, {cut}, {pixels}"

    def check(self, check: Check) -> None:
        """Note what does not fit."""
        check.within("frame.canonical_focal", self.canonical_focal, 1, 1e5)
        check.within("frame.patch_size", self.patch_size, 1, 1024)
        check.within("frame.merge", self.merge, 1, 64)
        check.within("frame.min_pixels", self.min_pixels, 1, self.max_pixels)
        check.within("frame.max_pixels", self.max_pixels, self.factor**2, 1 << 28)
        if self.crop is not None:
            check.within("frame.crop", self.crop, self.factor, 1 << 14)
        _check_normalisation("frame", self.mean, self.std, check)


@dataclass(frozen=True, slots=True)
class PatchGridSpec:
    """Positions of patches in a frame of any size, which the host computes: see `edgepose.patches`."""

    head_dim: int
    """Width of an attention head of the encoder."""
    rope_theta: float
    """Base of the frequencies of its rotary positions."""
    table_side: int
    """Rows and columns of its learned position table."""
    taps: int
    """Layers whose features go to the decoder beside those of the last one (DeepStack)."""

    def check(self, check: Check) -> None:
        """Note what does not fit."""
        check.within("vision.grid.head_dim", self.head_dim, 4, 4096)
        check.expect(self.head_dim % 4 == 0, "vision.grid.head_dim", "a multiple of 4", self.head_dim)
        check.expect(self.rope_theta > 0, "vision.grid.rope_theta", "a number above 0", self.rope_theta)
        check.within("vision.grid.table_side", self.table_side, 1, 1 << 12)
        check.within("vision.grid.taps", self.taps, 0, 64)


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """Shape of the vision features."""

    hidden: int
    """Width of one patch feature before the connector."""
    patches: int | None = None
    """Patches per crop, which is also how many positions an image takes in the prompt; None for frames, whose
    patches are counted anew for each size."""
    grid: PatchGridSpec | None = None
    """Positions of a frame's patches; None for crops."""

    def check(self, check: Check, *, frames: bool) -> None:
        """Note what does not fit; `frames`: whether the encoder sees frames."""
        check.within("vision.hidden", self.hidden, 1, 1 << 16)
        wanted = "vision.grid" if frames else "vision.patches"
        check.expect((self.grid is not None) == frames, "vision.grid", f"{wanted} alone", self.grid)
        check.expect((self.patches is None) == frames, "vision.patches", f"{wanted} alone", self.patches)
        if self.patches is not None:
            check.within("vision.patches", self.patches, 1, 1 << 16)
        if self.grid is not None:
            self.grid.check(check)


def _check_normalisation(where: str, mean: tuple[float, ...], std: tuple[float, ...], check: Check) -> None:
    check.triple(f"{where}.mean", mean)
    check.triple(f"{where}.std", std)
    check.expect(all(value > 0 for value in std), f"{where}.std", "numbers above 0", std)
