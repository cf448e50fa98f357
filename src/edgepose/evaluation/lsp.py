# SPDX-License-Identifier: Apache-2.0
"""Leeds Sports Pose, plain and extended, and PCK of the torso.

The MATLAB files of the original release do not belong here: joints come as one NumPy array.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.crop import Box
from edgepose.errors import InvalidInputError
from edgepose.evaluation.image_store import ImageStore
from edgepose.evaluation.metrics import distances, pck
from edgepose.evaluation.reading import digest, read_bytes
from edgepose.evaluation.samples import Answer, Measures, Sample, Table
from edgepose.keypoint_set import KeypointSet

__all__ = ["LSP14", "BoxRule", "LeedsSports", "joints_box"]

BoxRule = Literal["joints", "photograph"]
"""Where a person's box comes from: see `LeedsSports`."""

LSP14 = KeypointSet(
    name="lsp14",
    keypoints=(
        "right ankle",
        "right knee",
        "right hip",
        "left hip",
        "left knee",
        "left ankle",
        "right wrist",
        "right elbow",
        "right shoulder",
        "left shoulder",
        "left elbow",
        "left wrist",
        "neck",
        "head_top",
    ),
)
"""The 14 keypoints of Leeds Sports Pose in annotation order, by the names that models know them by."""

_MARGIN = 0.1
_SUFFIXES = (".webp", ".jpg", ".png")
_THRESHOLDS = (0.2, 0.1)
_DIAGONALS = (("right hip", "left shoulder"), ("left hip", "right shoulder"))


def joints_box(xy: NDArray[np.float64]) -> Box:
    """The box around a person's labelled joints, a tenth of its longer side wider on each side.

    Joints end at ankles and wrists: with the margin the box holds feet and hands too, about as the boxes of
    COCO do.

    Args:
        xy: `(K, 2)` float, pixels; NaN where not labelled, with at least one labelled.

    Returns:
        (x, y, width, height), pixels, as COCO writes boxes; not cut at the far edges of the image, which
        cropping does.
    """
    low, high = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
    margin = max(1.0, _MARGIN * float((high - low).max()))
    low, high = np.maximum(low - margin, 0.0), high + margin
    x, y, w, h = (float(value) for value in (*low, *(high - low + 1)))
    return x, y, w, h


class LeedsSports:
    """One annotated person in each photograph, measured by PCK of the torso.

    Photographs are cut to the person already, with a wide margin. With `box="joints"` the person's box is
    that of the labelled joints with a small margin (see `joints_box`), as ground-truth boxes are used
    elsewhere; `box="photograph"` uses nothing but the image, and shows the model a smaller person.

    Args:
        annotations: `.npy`, (N, 14, 3) float: x, y in pixels of the photograph, and 1 where visible.
        images: folder or ZIP archive with `im00001.webp` (or .jpg, .png) for the first person, and so on.
        numbers: (first, last) photograph, both included, counted from 1; None for all.
        box: where boxes come from.

    Raises:
        InvalidInputError: a file is missing or has another form, or the range is not in it.

    Source: Johnson and Everingham, Learning Effective Human Pose Estimation from Inaccurate Annotation, CVPR
    2011; PCK as in Yang and Ramanan, PAMI 2013: joints within 0.2 of the torso, here the distance of right
    hip and left shoulder.
    """

    name = "lsp"

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str],
        *,
        numbers: tuple[int, int] | None = None,
        box: BoxRule = "joints",
    ) -> None:
        if box not in ("joints", "photograph"):
            raise InvalidInputError(f"[lsp] expected box to be joints or photograph; got {box!r}; choose one")
        data = read_bytes(annotations)
        joints = _read_joints(annotations, data)
        first, last = (1, len(joints)) if numbers is None else numbers
        if not 1 <= first <= last <= len(joints):
            raise InvalidInputError(
                f"[lsp] expected a range of photographs within 1-{len(joints)}; got {first}-{last}; choose "
                "others"
            )
        self.annotations = os.path.basename(os.fspath(annotations))
        self.sha256 = digest(data)
        self.images = ImageStore(images)
        self.options: Mapping[str, str] = {"box": box}
        self._box: BoxRule = box
        found = [self._sample(number, joints[number - 1]) for number in range(first, last + 1)]
        samples = [sample for sample in found if sample is not None]
        self.samples: Sequence[Sample] = samples
        torsos = sum(sample.size > 0 for sample in samples)
        boxes = (
            "the labelled joints, a tenth of its longer side wider on each side"
            if box == "joints"
            else "the whole photograph"
        )
        self.notes: tuple[str, ...] = (
            f"Photographs {first} to {last}: {len(samples)} with visible joints, {torsos} with a torso to "
            f"measure by. The person's box is {boxes}. Joints that are marked invisible do not count.",
        )
        if not samples:
            raise InvalidInputError(
                f"[lsp] expected visible joints in photographs {first}-{last}; got none; choose others"
            )

    def _sample(self, number: int, joints: NDArray[np.float64]) -> Sample | None:
        known = joints[:, 2] > 0
        if not known.any():
            return None
        xy = np.where(known[:, None], joints[:, :2], np.nan)
        if not np.isfinite(xy[known]).all():
            raise InvalidInputError(
                f"[lsp, person {number}] expected finite coordinates of visible joints; got "
                f"{joints[known].tolist()}; mend the array or mark the joint invisible"
            )
        return Sample(
            id=f"{number:05d}",
            image=self._file(number),
            keypoints=LSP14.keypoints,
            xy=xy,
            labelled=known,
            box=joints_box(xy) if self._box == "joints" else None,
            size=_torso(xy),
        )

    def _file(self, number: int) -> str:
        for suffix in _SUFFIXES[:-1]:
            try:
                return self.images.find(f"im{number:05d}{suffix}")
            except InvalidInputError:
                continue
        return self.images.find(f"im{number:05d}{_SUFFIXES[-1]}")

    def measure(self, samples: Sequence[Sample], answers: Sequence[Answer]) -> Measures:
        """See `edgepose.evaluation.Dataset`."""
        distance = np.array([distances(a.xy, s.xy) for s, a in zip(samples, answers, strict=True)])
        size = np.array([sample.size for sample in samples])
        labelled = np.array([sample.labelled for sample in samples])
        metrics: dict[str, float] = {}
        rows: dict[str, dict[str, float]] = {name: {} for name in LSP14.keypoints}
        for threshold in _THRESHOLDS:
            counted = pck(distance, size, labelled, threshold)
            metrics[f"PCK@{threshold:g}"] = counted.mean
            for name, share in zip(LSP14.keypoints, counted.joints, strict=True):
                rows[name][f"PCK@{threshold:g}"] = float(share)
        counts = labelled & (size > 0)[:, None]
        relative = np.where(counts, np.nan_to_num(distance, nan=np.inf), 0.0).sum(axis=1) / np.where(
            counts.any(axis=1), size * np.maximum(1, counts.sum(axis=1)), np.nan
        )
        return Measures(
            metrics=metrics,
            tables=(Table("PCK by joint", rows),),
            scores=relative,
            score="mean error / torso",
            higher_is_better=False,
            notes=(
                "PCK is the share of visible joints within a share of the torso, the distance of right hip "
                "and left shoulder (of left hip and right shoulder where one of these is not labelled). The "
                "labels of the extended set are crowd-sourced and noisy.",
            ),
        )


def _torso(xy: NDArray[np.float64]) -> float:
    for ends in _DIAGONALS:
        a, b = (xy[LSP14.keypoints.index(name)] for name in ends)
        length = float(np.linalg.norm(a - b))
        if length > 0:
            return length
    return float("nan")


def _read_joints(annotations: str | os.PathLike[str], data: bytes) -> NDArray[np.float64]:
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidInputError(
            f"[annotations] expected a NumPy array; got {os.fspath(annotations)!r}: {error}; for this data "
            "set pass joints.npy"
        ) from error
    wanted = len(LSP14)
    if not isinstance(found, np.ndarray) or found.ndim != 3 or found.shape[1:] != (wanted, 3):
        got = found.shape if isinstance(found, np.ndarray) else type(found).__name__
        raise InvalidInputError(
            f"[annotations] expected an array of shape (N, {wanted}, 3); got {got} in "
            f"{os.fspath(annotations)!r}; one row of x, y, visible for each joint"
        )
    if found.dtype.kind not in "fiu":
        raise InvalidInputError(f"[annotations] expected numbers; got {found.dtype}; pass joints.npy")
    return np.asarray(found, dtype=np.float64)
