# SPDX-License-Identifier: Apache-2.0
"""Kinds of views: a square crop of each person, or the whole frame at one focal length.

Cutting and resizing images does not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgepose.bundle import CropSpec, FrameSpec
from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import read_json_object
from edgepose.export.families.description import Source

__all__ = ["CLIP_MEAN", "CLIP_STD", "CropView", "FrameView"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class CropView:
    """How a box becomes a crop and a crop becomes pixels; the crop's size comes from the checkpoint."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset()

    scale: float
    """Side of the square crop over the longer side of the box."""
    mean: _Triple
    """Subtracted from RGB in [0, 1]."""
    std: _Triple
    """Divided by, after that."""

    def specs(self, source: Source[Any]) -> tuple[CropSpec, None]:
        """`crop` and `frame` of a manifest."""
        return CropSpec(source.config.vision.image_size, self.scale, self.mean, self.std), None


@dataclass(frozen=True, slots=True)
class FrameView:
    """How a whole image becomes patches.

    `preprocessor_config.json` of the checkpoint tells the numbers of the image processor; where there is
    none, or it leaves one out, those of this description hold. Its pixel limits count only where they are
    below the description's: the published inference sets these when it loads the processor, whatever the
    file says, but a compact model may be made for smaller frames. Such a model may be made for another focal
    length too: `"edgepose": {"canonical_focal": 250.0}` in its `config.json` counts before the description's.
    """

    OPTIONS: ClassVar[frozenset[str]] = frozenset({"crop"})

    canonical_focal: float
    """Focal length to which images are scaled, pixels, where the checkpoint does not say one."""
    min_pixels: int
    max_pixels: int
    patch_size: int
    merge: int
    mean: _Triple
    std: _Triple

    def specs(self, source: Source[Any]) -> tuple[None, FrameSpec]:
        """`crop` and `frame` of a manifest.

        Raises:
            InvalidInputError: `preprocessor_config.json` is broken, or does not fit the weights; or the focal
                length in `config.json` is no number above 0.
        """
        file = source.checkpoint.path / "preprocessor_config.json"
        stored = read_json_object(file, "download the file again") if file.exists() else {}
        size = stored.get("size")
        limits: Mapping[str, object] = size if isinstance(size, dict) else {}
        numbers = _Numbers(file, stored)
        least = numbers.whole("min_pixels", limits.get("shortest_edge"), self.min_pixels)
        most = numbers.whole("max_pixels", limits.get("longest_edge"), self.max_pixels)
        vision = source.config.vision
        spec = FrameSpec(
            canonical_focal=self._focal(source),
            patch_size=numbers.whole("patch_size", None, self.patch_size),
            merge=numbers.whole("merge_size", None, self.merge),
            min_pixels=min(least, self.min_pixels),
            max_pixels=min(most, self.max_pixels),
            mean=numbers.triple("image_mean", self.mean),
            std=numbers.triple("image_std", self.std),
            crop=source.options.crop,
        )
        for name, ours, theirs in (
            ("patch_size", spec.patch_size, vision.patch_size),
            ("merge_size", spec.merge, vision.merge),
        ):
            if ours != theirs:
                numbers.defects.append(f"{name} {ours}, while the weights are made for {theirs}")
        numbers.refuse_defects()
        return None, spec

    def _focal(self, source: Source[Any]) -> float:
        own: Any = source.checkpoint.config.get("edgepose")
        if own is None:
            return self.canonical_focal
        focal: Any = own.get("canonical_focal", self.canonical_focal) if isinstance(own, dict) else None
        if type(focal) not in (int, float) or not (math.isfinite(focal) and focal > 0):
            raise InvalidInputError(
                f"[export] expected edgepose in {source.checkpoint.path / 'config.json'} to name a "
                f"canonical_focal above 0, pixels; got {own!r}; use the file that belongs to the weights"
            )
        return float(focal)


class _Numbers:
    """Reads the numbers of an image processor; every defect is in one message."""

    def __init__(self, file: Path, stored: Mapping[str, object]) -> None:
        self._file = file
        self._stored = stored
        self.defects: list[str] = []

    def whole(self, name: str, otherwise: object, default: int) -> int:
        """A count under its name, or else as found elsewhere, or else the default."""
        value = self._stored.get(name)
        value = otherwise if value is None else value
        if value is None:
            return default
        if type(value) is not int or value < 1:
            self.defects.append(f"{name} {value!r}, not a whole number above 0")
            return default
        return value

    def triple(self, name: str, default: _Triple) -> _Triple:
        """Three numbers, one for each colour."""
        value: Any = self._stored.get(name)
        if value is None:
            return default
        fine = isinstance(value, list) and len(value) == 3
        if not fine or not all(type(each) in (int, float) and math.isfinite(each) for each in value):
            self.defects.append(f"{name} {value!r}, not three numbers")
            return default
        red, green, blue = map(float, value)
        return red, green, blue

    def refuse_defects(self) -> None:
        """Raises InvalidInputError where there are any."""
        if self.defects:
            raise InvalidInputError(
                f"[export] expected {self._file} to describe the image processor of the weights; got "
                f"{'; '.join(self.defects)}; use the file that belongs to the weights"
            )
