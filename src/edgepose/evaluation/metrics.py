# SPDX-License-Identifier: Apache-2.0
"""Distances between answered and true joints, and what is counted from them: PCK, OKS, MPJPE, alignments.

Arrays in, numbers out. Files, names of joints and average precision over a data set do not belong here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError

__all__ = [
    "COCO_SIGMAS",
    "Pck",
    "Spread",
    "align_at",
    "align_mean",
    "align_similarity",
    "distances",
    "oks",
    "pck",
    "spread",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

COCO_SIGMAS: Floats = (
    np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], dtype=np.float64) / 1000
)
"""(17,) how far annotators disagree about each keypoint of COCO, relative to the person's size.

Source: COCO keypoint evaluation, pycocotools `Params.kpt_oks_sigmas`."""


def distances(answered: ArrayLike, truth: ArrayLike) -> Floats:
    """Euclidean distances between points.

    Args:
        answered: `(..., D)` float; NaN where not answered.
        truth: `(..., D)` float, same unit and frame.

    Returns:
        `(...)` float64, the same unit; NaN where a point is.

    Raises:
        InvalidInputError: the shapes differ.
    """
    first, second = _pair(answered, truth)
    return np.asarray(np.linalg.norm(first - second, axis=-1), dtype=np.float64)


class Pck(NamedTuple):
    """Shares of correct keypoints."""

    joints: Floats
    """`(K,)` float64, 0 to 1, over people; NaN for a joint that nobody has labelled."""
    counts: NDArray[np.int64]
    """`(K,)` int64, people in whom the joint counts."""
    mean: float
    """Over all joints of all people that count; NaN if there are none."""


def pck(
    distance: ArrayLike,
    size: ArrayLike,
    labelled: ArrayLike,
    threshold: float,
    among: ArrayLike | None = None,
) -> Pck:
    """Percentage of correct keypoints (PCK, PCKh): how many lie within a share of a person's size.

    Args:
        distance: `(N, K)` float, pixels; NaN, a joint that was not answered, is never correct.
        size: `(N,)` float, pixels: what a person is measured by, the torso or the head; a person without one
            (NaN or 0) does not count.
        labelled: `(N, K)` bool, joints whose truth is known.
        threshold: share of `size` up to which, that included, a joint is correct.
        among: `(K,)` bool, the joints of the mean; None for all.

    Source: MPII Human Pose, Andriluka et al., CVPR 2014; the mean weighs joints by how often they are
    labelled, as the usual evaluation of MPII does.
    """
    far, sizes = np.asarray(distance, dtype=np.float64), np.asarray(size, dtype=np.float64)
    counted = np.asarray(labelled, dtype=np.bool_) & (sizes > 0)[:, None]
    with np.errstate(invalid="ignore"):
        right = counted & (far <= threshold * sizes[:, None])
    counts, hits = counted.sum(axis=0), right.sum(axis=0)
    joints = np.divide(hits, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    chosen = np.ones(len(counts), dtype=np.bool_) if among is None else np.asarray(among, dtype=np.bool_)
    total = int(counts[chosen].sum())
    return Pck(joints, counts, float(hits[chosen].sum() / total) if total else float("nan"))


def oks(
    answered: ArrayLike, truth: ArrayLike, labelled: ArrayLike, area: float, sigmas: ArrayLike = COCO_SIGMAS
) -> float:
    """Object keypoint similarity of one person, 0 to 1.

    Args:
        answered: `(K, 2)` float, pixels; NaN counts as infinitely far.
        truth: `(K, 2)` float, pixels.
        labelled: `(K,)` bool.
        area: of the person's segment, square pixels.
        sigmas: `(K,)` float.

    Returns:
        Mean over labelled keypoints of `exp(-d^2 / (2 area (2 sigma)^2))`; NaN without any.

    Source: COCO keypoint evaluation.
    """
    known = np.asarray(labelled, dtype=np.bool_)
    if not known.any():
        return float("nan")
    squared = distances(answered, truth)[known] ** 2
    spread_of = 2 * (float(area) + np.spacing(1)) * (2 * np.asarray(sigmas, dtype=np.float64)[known]) ** 2
    return float(np.exp(-np.nan_to_num(squared / spread_of, nan=np.inf)).mean())


class Spread(NamedTuple):
    """Mean and median of distances, and how much of what was labelled was answered."""

    mean: float
    median: float
    answered: float
    """Share, 0 to 1; NaN where nothing is labelled. The other two are over answered joints alone."""
    labelled: int
    """Joints that should have been answered."""


def spread(distance: ArrayLike, labelled: ArrayLike) -> Spread:
    """Mean (MPJPE, of distances in space), median and share of answered joints.

    Args:
        distance: any shape, float; NaN where not answered.
        labelled: same shape, bool.
    """
    known = np.asarray(distance, dtype=np.float64)[np.asarray(labelled, dtype=np.bool_)]
    found = known[np.isfinite(known)]
    if not len(found):
        return Spread(float("nan"), float("nan"), 0.0 if len(known) else float("nan"), len(known))
    return Spread(float(found.mean()), float(np.median(found)), len(found) / len(known), len(known))


def align_at(answered: ArrayLike, truth: ArrayLike, root: int) -> Floats:
    """The answered joints of one person moved so that one joint, the root, lies on its true place.

    Args:
        answered: `(K, 3)` float; NaN where not answered.
        truth: `(K, 3)` float, same unit and frame.
        root: place of the joint in both.

    Returns:
        `(K, 3)` float64, in the frame of `truth`; all NaN where the root is.
    """
    first, second = _pair(answered, truth)
    moved: Floats = first - first[root] + second[root]
    return moved


def align_mean(answered: ArrayLike, truth: ArrayLike, labelled: ArrayLike) -> Floats:
    """As `align_at`, with the mean of the joints that are labelled and answered in the place of the root."""
    first, second = _pair(answered, truth)
    used = _usable(first, second, labelled)
    if not used.any():
        return np.full_like(first, np.nan)
    moved: Floats = first - first[used].mean(axis=0) + second[used].mean(axis=0)
    return moved


def align_similarity(answered: ArrayLike, truth: ArrayLike, labelled: ArrayLike) -> Floats:
    """The answered joints of one person after the rotation, scale and shift that bring them closest.

    Distances of the result from `truth` are those of PA-MPJPE.

    Args:
        answered: `(K, 3)` float; NaN where not answered.
        truth: `(K, 3)` float.
        labelled: `(K,)` bool: joints to bring close, of which two at least must be answered.

    Returns:
        `(K, 3)` float64, in the frame of `truth`. All NaN where fewer than two joints can be used, or all
        answered ones lie on one point.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns,
    PAMI 1991; mirroring is excluded.
    """
    first, second = _pair(answered, truth)
    used = _usable(first, second, labelled)
    if used.sum() < 2:
        return np.full_like(first, np.nan)
    center, goal = first[used].mean(axis=0), second[used].mean(axis=0)
    from_center, from_goal = first[used] - center, second[used] - goal
    scatter = float((from_center**2).sum())
    if scatter < np.finfo(np.float64).tiny:
        return np.full_like(first, np.nan)
    u, stretch, vt = np.linalg.svd(from_goal.T @ from_center)
    signs = np.ones(first.shape[1])
    signs[-1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * signs) @ vt
    scale = float((stretch * signs).sum()) / scatter
    return np.asarray(scale * (first - center) @ rotation.T + goal, dtype=np.float64)


def _usable(first: Floats, second: Floats, labelled: ArrayLike) -> Flags:
    finite = np.isfinite(first).all(axis=-1) & np.isfinite(second).all(axis=-1)
    return np.asarray(finite & np.asarray(labelled, dtype=np.bool_))


def _pair(answered: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(answered, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if first.shape != second.shape or first.ndim < 1:
        raise InvalidInputError(
            f"[metric] expected as many answered points as true ones; got shapes {first.shape} and "
            f"{second.shape}; put both into one order of joints"
        )
    return first, second
