# SPDX-License-Identifier: Apache-2.0
"""What `locate` returns: keypoints, poses, and a list of poses that knows what it cost.

How they are found does not belong here, nor how they are drawn: see `edgepose.drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.keypoints import COCO17, canonical_name

if TYPE_CHECKING:
    from edgepose.images import ImageSource

__all__ = ["Keypoint", "Localization", "Passes", "Pose"]


def _unknown_pair() -> NDArray[np.float64]:
    return np.full(2, np.nan)


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
    """Whether the answer named all its numbers: x and y, and the depth where `dimensions` is 3."""

    expected_xy: NDArray[np.float64] = field(default_factory=_unknown_pair)
    """(2,) float64, pixels of the original image: mean of the distribution over answers; NaN if unknown."""

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

    token_ids: tuple[int, ...] = ()
    """Tokens of the answer."""

    text: str = ""
    """Text of the answer."""

    def __post_init__(self) -> None:
        for name in ("xy", "std", "expected_xy"):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != (2,):
                raise InvalidInputError(
                    f"[keypoint {self.name!r}] expected {name} of shape (2,); got shape {value.shape}; "
                    "pass x and y"
                )
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if self.dimensions != 3 and not (math.isnan(self.depth) and math.isnan(self.depth_std)):
            raise InvalidInputError(
                f"[keypoint {self.name!r}] expected no depth in {self.dimensions} dimensions; got depth "
                f"{self.depth} mm with std {self.depth_std} mm; pass dimensions=3"
            )

    def to_json(self, *, trace: bool = False) -> dict[str, Any]:
        """Value for `json.dumps`: name, xy, confidence, std, valid, and with `trace` token_ids and text.

        In 3 dimensions also depth and depth_std, millimetres. Numbers that are not finite become None.
        """
        value: dict[str, Any] = {
            "name": self.name,
            "xy": _numbers(self.xy),
            "confidence": _number(self.confidence),
            "std": _numbers(self.std),
            "valid": self.valid,
        }
        if self.dimensions == 3:
            value["depth"] = _number(self.depth)
            value["depth_std"] = _number(self.depth_std)
        if trace:
            value["token_ids"] = list(self.token_ids)
            value["text"] = self.text
        return value

    def __repr__(self) -> str:
        if not self.valid:
            return f"Keypoint({self.name!r}, not answered)"
        (x, y), (sx, sy) = self.xy, self.std
        depth = f"depth={self.depth:.0f} mm, " if self.dimensions == 3 else ""
        return (
            f"Keypoint({self.name!r}, xy=({x:.1f}, {y:.1f}) px, std=({sx:.1f}, {sy:.1f}) px, "
            f"{depth}confidence={self.confidence:.2f})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """The keypoints of one person, looked up by name, index or iteration."""

    box: tuple[float, ...]
    """(x, y, width, height) as it was passed in, pixels of the original image."""

    keypoints: tuple[Keypoint, ...]
    """In the order in which they were asked for."""

    def __post_init__(self) -> None:
        if len(self.box) != 4:
            raise InvalidInputError(
                f"[pose] expected a box (x, y, width, height); got {self.box!r}; pass all four numbers"
            )

    @property
    def score(self) -> float:
        """Mean confidence of the keypoints, the published score of a person; NaN without keypoints."""
        return float(np.mean(self.confidence)) if self.keypoints else math.nan

    @property
    def names(self) -> tuple[str, ...]:
        """Keypoint names in order."""
        return tuple(keypoint.name for keypoint in self.keypoints)

    @property
    def xy(self) -> NDArray[np.float64]:
        """`(K, 2)` float64, pixels of the original image, in the order of `keypoints`."""
        return np.array([keypoint.xy for keypoint in self.keypoints], dtype=np.float64).reshape(-1, 2)

    @property
    def std(self) -> NDArray[np.float64]:
        """`(K, 2)` float64, pixels of the original image."""
        return np.array([keypoint.std for keypoint in self.keypoints], dtype=np.float64).reshape(-1, 2)

    @property
    def depth(self) -> NDArray[np.float64]:
        """`(K,)` float64, millimetres, relative to the root, positive away from the camera; NaN in 2-D."""
        return np.array([keypoint.depth for keypoint in self.keypoints], dtype=np.float64)

    @property
    def depth_std(self) -> NDArray[np.float64]:
        """`(K,)` float64, millimetres."""
        return np.array([keypoint.depth_std for keypoint in self.keypoints], dtype=np.float64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """`(K,)` float64, 0 to 1."""
        return np.array([keypoint.confidence for keypoint in self.keypoints], dtype=np.float64)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """`(K,)` bool."""
        return np.array([keypoint.valid for keypoint in self.keypoints], dtype=np.bool_)

    def __getitem__(self, key: str | int) -> Keypoint:
        """A keypoint by name (`left wrist` or `left_wrist`) or by place in the order.

        Raises:
            KeyError: the pose has no keypoint of that name.
            IndexError: the pose has no keypoint at that place.
        """
        if isinstance(key, int):
            return self.keypoints[key]
        name = canonical_name(key, self.names)
        if name is None:
            raise KeyError(f"no keypoint {key!r} in this pose; it has {', '.join(self.names)}")
        return self.keypoints[self.names.index(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical_name(name, self.names) is not None

    def __iter__(self) -> Iterator[Keypoint]:
        return iter(self.keypoints)

    def __len__(self) -> int:
        return len(self.keypoints)

    def to_coco(self, *, image_id: int, category_id: int = 1) -> dict[str, Any]:
        """One entry of a COCO keypoint results file.

        Args:
            image_id: id of the image in the annotation file.
            category_id: 1 is person.

        Returns:
            `image_id`, `category_id`, `score` and `keypoints`, 51 numbers x, y, confidence in COCO order; a
            number that is not finite is written as 0.

        Raises:
            InvalidInputError: the keypoints are not those of COCO in COCO's order.

        Source:
            LocLLM, utils/valid2d.py: confidence in the place of visibility, the mean of them as score.
        """
        if self.names != COCO17.keypoints:
            raise InvalidInputError(
                f"[to_coco] expected the 17 keypoints of coco17 in order; got {len(self)}: "
                f'{", ".join(self.names)}; locate with keypoints="coco17"'
            )
        rows = np.column_stack([self.xy, self.confidence])
        return {
            "image_id": image_id,
            "category_id": category_id,
            "keypoints": np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0).reshape(-1).tolist(),
            "score": _number(self.score) or 0.0,
        }

    def to_json(self, *, trace: bool = False) -> dict[str, Any]:
        """Value for `json.dumps`: box, score, keypoints. Numbers that are not finite become None."""
        return {
            "box": [_number(value) for value in self.box],
            "score": _number(self.score),
            "keypoints": [keypoint.to_json(trace=trace) for keypoint in self.keypoints],
        }

    def draw(
        self, image: ImageSource, *, scale: float = 1.0, labels: bool | None = None, std: bool = True
    ) -> NDArray[np.uint8]:
        """A copy of the image with box, skeleton, keypoints and their spread drawn on it.

        Args:
            image: the image that was located in, as `locate` takes it.
            scale: size of the result over that of the image; small images are easier to read enlarged.
            labels: write names beside the points; None writes them where no skeleton fits.
            std: draw an ellipse of two standard deviations around each point.

        Returns:
            `(H * scale, W * scale, 3)` uint8 RGB.

        Raises:
            InvalidInputError: the image is unusable or `scale` is not above 0.
        """
        from edgepose.drawing import draw_poses

        return draw_poses(image, [self], scale=scale, labels=labels, std=std)

    def __repr__(self) -> str:
        answered = int(self.valid.sum())
        box = ", ".join(f"{value:g}" for value in self.box)
        return f"Pose({answered} of {len(self)} keypoints, score={self.score:.2f}, box=({box}) px)"


@dataclass(frozen=True, slots=True)
class Passes:
    """How many times each graph ran; sums with `+`."""

    vision: int = 0
    """Runs of the vision encoder: one per person."""
    prefix: int = 0
    """Runs of the decoder over the part of the prompt that all questions share, the image included."""
    suffix: int = 0
    """Runs of the decoder over the questions' own parts."""
    decode: int = 0
    """Runs of the decoder over answer tokens."""

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.vision + other.vision,
            self.prefix + other.prefix,
            self.suffix + other.suffix,
            self.decode + other.decode,
        )

    def to_json(self) -> dict[str, int]:
        """Value for `json.dumps`."""
        return {"vision": self.vision, "prefix": self.prefix, "suffix": self.suffix, "decode": self.decode}


class Localization(list[Pose]):
    """The poses of one call, in the order of the boxes, and what they cost."""

    passes: Passes
    """Graph runs of the whole call."""

    timings_ms: dict[str, float]
    """Milliseconds per stage, summed over people; `total` is the whole call."""

    def __init__(
        self,
        poses: Iterable[Pose] = (),
        *,
        passes: Passes | None = None,
        timings_ms: dict[str, float] | None = None,
    ) -> None:
        super().__init__(poses)
        self.passes = Passes() if passes is None else passes
        self.timings_ms = {} if timings_ms is None else dict(timings_ms)

    def to_json(self, *, trace: bool = False) -> dict[str, Any]:
        """Value for `json.dumps`: poses, passes, timings_ms. Numbers that are not finite become None."""
        return {
            "poses": [pose.to_json(trace=trace) for pose in self],
            "passes": self.passes.to_json(),
            "timings_ms": {stage: _number(value) for stage, value in self.timings_ms.items()},
        }

    def draw(
        self, image: ImageSource, *, scale: float = 1.0, labels: bool | None = None, std: bool = True
    ) -> NDArray[np.uint8]:
        """Like `Pose.draw`, all people in one picture."""
        from edgepose.drawing import draw_poses

        return draw_poses(image, self, scale=scale, labels=labels, std=std)

    def __repr__(self) -> str:
        total = self.timings_ms.get("total")
        took = "" if total is None else f", {total:.0f} ms"
        return f"Localization({super().__repr__()}, {self.passes}{took})"


def _number(value: float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values]
