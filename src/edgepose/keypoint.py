# SPDX-License-Identifier: Apache-2.0
"""One located keypoint: where it is in the image and in space, and how sure the model is of it.

Sets and names of keypoints do not belong here: see `edgepose.keypoints`. Nor how they are found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError

__all__ = ["Keypoint", "finite_or_none"]


def _unknown_pair() -> NDArray[np.float64]:
    return np.full(2, np.nan)


def _unknown_place() -> NDArray[np.float64]:
    return np.full(3, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Keypoint:
    """One located keypoint.

    An answer that does not name all its numbers is data, not an error: `valid` is False.

    Raises:
        InvalidInputError: an array has not the shape given here, or there is a depth in 2 dimensions.
    """

    name: str
    """Name as it was asked for, in the spelling of the bundle."""

    xy: NDArray[np.float64]
    """(2,) float64, pixels of the original image, x right, y down, integers at pixel centres; read-only."""

    confidence: float
    """0 to 1; the mean probability of the answer's characters."""

    std: NDArray[np.float64] = field(default_factory=_unknown_pair)
    """(2,) float64, pixels of the original image: spread of the model's answer per axis; NaN if unknown."""

    valid: bool = True
    """Whether the answer named all its numbers, and each can be what is there.

    False where one is missing: x, y, the depth where `dimensions` is 3, `xyz` where `metric`. False also
    where a number stands at the end of what the form of the answer can say (the first or last bin of X, Y or
    Z): the point may lie anywhere beyond; the numbers are kept as answered. What was not answered is NaN."""

    expected_xy: NDArray[np.float64] = field(default_factory=_unknown_pair)
    """(2,) float64, pixels of the original image: mean of the distribution over answers; NaN if unknown."""

    xyz: NDArray[np.float64] = field(default_factory=_unknown_place)
    """(3,) float64, metres, camera frame: x right, y down, z forward; read-only; NaN where not answered or
    the bundle answers in pixels only. In another frame after `Pose.transform`."""

    xyz_std: NDArray[np.float64] = field(default_factory=_unknown_place)
    """(3,) float64, metres: spread of the model's answer per axis of `xyz`; NaN if unknown."""

    expected_xyz: NDArray[np.float64] = field(default_factory=_unknown_place)
    """(3,) float64, metres, same frame as `xyz`: mean of the distribution over answers; NaN if unknown."""

    reprojection_error: float = math.nan
    """Pixels of the original image from `xy` to where the camera sees `xyz`: whether the answer agrees with
    itself in 2-D and 3-D; NaN if unknown."""

    metric: bool = False
    """Whether the bundle answers in metres. True by itself where `xyz` holds a number; pass it for what such
    a bundle left unanswered."""

    depth: float = math.nan
    """Millimetres, relative to the root joint (the pelvis), positive away from the camera; NaN if the bundle
    answers in 2-D or the answer names no depth; 0 for an answer without any number, as published.

    As the model wrote it, for the root itself too; the published evaluation sets that one to 0. A place in
    metric camera coordinates needs two things from elsewhere, the root's own depth and the camera's focal
    lengths and centre: `Z = depth + Z_root`, `X = (x - cx) / fx * Z`, `Y = (y - cy) / fy * Z`.

    Source: LocLLM, utils/valid3d.py."""

    depth_std: float = math.nan
    """Millimetres: spread of the model's answer in depth; NaN if unknown."""

    dimensions: Literal[2, 3] = 2
    """Numbers in an answer of the bundle: 3 where it answers with a depth."""

    prompt_ids: tuple[int, ...] = ()
    """Tokens of the whole prompt that asked for this keypoint; empty where one asked for the whole person."""

    token_ids: tuple[int, ...] = ()
    """Tokens of the answer."""

    text: str = ""
    """Text of the answer."""

    def __post_init__(self) -> None:
        for size, axes, names in (
            (2, "x and y", ("xy", "std", "expected_xy")),
            (3, "x, y and z", ("xyz", "xyz_std", "expected_xyz")),
        ):
            for name in names:
                value = np.array(getattr(self, name), dtype=np.float64)
                if value.shape != (size,):
                    raise InvalidInputError(
                        f"[keypoint {self.name!r}] expected {name} of shape ({size},); got shape "
                        f"{value.shape}; pass {axes}"
                    )
                value.setflags(write=False)
                object.__setattr__(self, name, value)
        if not np.isnan(self.xyz).all():
            object.__setattr__(self, "metric", True)
        if self.dimensions != 3 and not (math.isnan(self.depth) and math.isnan(self.depth_std)):
            raise InvalidInputError(
                f"[keypoint {self.name!r}] expected no depth in {self.dimensions} dimensions; got depth "
                f"{self.depth} mm with std {self.depth_std} mm; pass dimensions=3"
            )

    def to_json(self, *, trace: bool = False) -> dict[str, Any]:
        """Value for `json.dumps`: name, xy, confidence, std, valid; with `trace` prompt_ids, token_ids, text.

        Where it is metric also xyz and xyz_std, metres, and reprojection_error, pixels; in 3 dimensions also
        depth and depth_std, millimetres. Numbers that are not finite become None.
        """
        value: dict[str, Any] = {
            "name": self.name,
            "xy": _finite(self.xy),
            "confidence": finite_or_none(self.confidence),
            "std": _finite(self.std),
            "valid": self.valid,
        }
        if self.dimensions == 3:
            value["depth"] = finite_or_none(self.depth)
            value["depth_std"] = finite_or_none(self.depth_std)
        if self.metric:
            value["xyz"] = _finite(self.xyz)
            value["xyz_std"] = _finite(self.xyz_std)
            value["reprojection_error"] = finite_or_none(self.reprojection_error)
        if trace:
            value["prompt_ids"] = list(self.prompt_ids)
            value["token_ids"] = list(self.token_ids)
            value["text"] = self.text
        return value

    def __repr__(self) -> str:
        if not self.valid and np.isnan(self.xyz).all():
            return f"Keypoint({self.name!r}, not answered)"
        (x, y), (sx, sy) = self.xy, self.std
        depth = f"depth={self.depth:.0f} mm, " if self.dimensions == 3 else ""
        if self.metric:
            depth = "xyz=({:.3f}, {:.3f}, {:.3f}) m, ".format(*self.xyz)
        doubt = "" if self.valid else ", not valid"
        return (
            f"Keypoint({self.name!r}, xy=({x:.1f}, {y:.1f}) px, std=({sx:.1f}, {sy:.1f}) px, "
            f"{depth}confidence={self.confidence:.2f}{doubt})"
        )


def finite_or_none(value: float) -> float | None:
    """The number as JSON can write it: None in the place of NaN and infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    return [finite_or_none(value) for value in values]
