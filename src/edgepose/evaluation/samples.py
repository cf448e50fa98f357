# SPDX-License-Identifier: Apache-2.0
"""What a data set yields, what comes back for it, and what is made of both.

Reading files does not belong here, nor asking a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.camera import Camera
from edgepose.crop import Box, SquareCrop
from edgepose.evaluation.image_store import ImageStore
from edgepose.keypoint import Keypoint
from edgepose.keypoints import canonical_name
from edgepose.pose import Pose

__all__ = ["Answer", "Dataset", "Measures", "Sample", "Table"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One question: one person in one image, the joints to ask for, and where they truly are."""

    id: str
    """Unique in the data set."""
    image: str
    """Name in the data set's `ImageStore`."""
    keypoints: tuple[str, ...]
    """Names of the joints, in the order of all arrays."""
    xy: Floats
    """`(K, 2)` float64, pixels, x right, y down, integers at pixel centres; NaN where not labelled."""
    labelled: Flags
    """`(K,)` bool: joints whose truth is known."""
    box: Box | SquareCrop | None = None
    """Of the person, for models that look at a crop: (x, y, width, height), pixels, or the very square."""
    size: float = math.nan
    """Pixels: what distances in the image are measured by, as the data set has it: the head, the torso, the
    square root of the person's area. NaN if unknown."""
    camera: Camera | None = None
    """Took the image; for models that look at the whole frame."""
    xyz: Floats | None = None
    """`(K, 3)` float64, metres, camera frame: x right, y down, z forward; NaN where not labelled."""
    occluded: Flags | None = None
    """`(K,)` bool: labelled joints that something hides; None if unknown."""
    group: str = ""
    """Part of the body that is asked for; empty for the whole person."""
    command: str | None = None
    """Ask with these words, and let the model choose the joints, instead of by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model said to one sample; arrays follow the sample's joints, NaN where it said nothing."""

    xy: Floats
    """`(K, 2)` float64, pixels of the image."""
    std: Floats
    """`(K, 2)` float64, pixels."""
    confidence: Floats
    """`(K,)` float64, 0 to 1; 0 where nothing was said."""
    xyz: Floats
    """`(K, 3)` float64, metres, camera frame."""
    xyz_std: Floats
    """`(K, 3)` float64, metres."""
    depth: Floats
    """`(K,)` float64, millimetres behind the root joint."""
    depth_std: Floats
    """`(K,)` float64, millimetres."""
    milliseconds: float = math.nan
    """That the answer took."""

    @classmethod
    def from_json(cls, keypoints: Sequence[Mapping[str, Any]], names: Sequence[str], ms: float) -> Answer:
        """From `Pose.to_json()["keypoints"]`, brought into the order of `names`.

        Joints that were not asked for are dropped.
        """
        found = {canonical_name(str(item["name"]), names): item for item in keypoints}
        rows = [found.get(name, {}) for name in names]

        def column(field_name: str, width: int) -> Floats:
            missing = [None] * width if width else None
            values = [row.get(field_name, missing) for row in rows]
            return np.array(values, dtype=np.float64).reshape((len(rows), width) if width else (len(rows),))

        return cls(
            xy=column("xy", 2),
            std=column("std", 2),
            confidence=np.nan_to_num(column("confidence", 0), nan=0.0),
            xyz=column("xyz", 3),
            xyz_std=column("xyz_std", 3),
            depth=column("depth", 0),
            depth_std=column("depth_std", 0),
            milliseconds=ms,
        )

    @property
    def score(self) -> float:
        """Mean confidence of the joints that were asked for."""
        return float(self.confidence.mean())

    def pose(self, names: Sequence[str]) -> Pose:
        """For drawings: joints with an answer, no box."""
        said = [bool(np.isfinite(xy).all()) for xy in self.xy]
        points = [
            Keypoint(name, self.xy[k], float(self.confidence[k]), std=self.std[k], xyz=self.xyz[k])
            for k, name in enumerate(names)
            if said[k]
        ]
        return Pose((math.nan,) * 4, tuple(points))


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers in rows and columns, with a title."""

    title: str
    """For people; its unit in it."""
    rows: Mapping[str, Mapping[str, float]]
    """Row -> column -> number, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """What a data set makes of the answers to its samples."""

    metrics: Mapping[str, float]
    """The figures that are published for such data sets, by their usual names."""
    tables: tuple[Table, ...]
    """The same in detail."""
    scores: Floats
    """`(N,)` float64, one for each sample, to find the best and the worst by; NaN for none."""
    score: str
    """What `scores` are, for people."""
    higher_is_better: bool
    """Of `scores`."""
    notes: tuple[str, ...] = field(default=())
    """How the figures came about, where that must be known to compare them."""


class Dataset(Protocol):
    """Samples, and what is measured on them."""

    name: str
    """Of the kind of data set: `coco`, `mpii`, ..."""
    annotations: str
    """File name of the annotations."""
    sha256: str
    """Of that file."""
    images: ImageStore
    """Where the images are."""
    samples: Sequence[Sample]
    """In order; samples of one image follow one another."""
    options: Mapping[str, str]
    """Choices that change what is asked or seen, and so the answers."""
    notes: tuple[str, ...]
    """What reading found that must be known to compare figures."""

    def measure(self, samples: Sequence[Sample], answers: Sequence[Answer]) -> Measures:
        """The figures of some of the samples, in any order, and the answers to them."""
        ...
