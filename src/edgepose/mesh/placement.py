# SPDX-License-Identifier: Apache-2.0
"""Where a body mesh stands: the similarity that brings its joints onto those of a metric pose.

Estimating shape or pose of the body does not belong here: both stay as the mesh has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError
from edgepose.keypoints import canonical_name
from edgepose.mesh.arrays import checked_points
from edgepose.pose import Pose
from edgepose.skeleton import SMPL22

__all__ = ["MHR70", "PlacedBody", "place_body"]

MHR70: Mapping[str, int] = {
    "left_shoulder": 5,
    "right_shoulder": 6,
    "left_elbow": 7,
    "right_elbow": 8,
    "left_hip": 9,
    "right_hip": 10,
    "left_knee": 11,
    "right_knee": 12,
    "left_ankle": 13,
    "right_ankle": 14,
    "right_wrist": 41,
    "left_wrist": 62,
    "neck": 69,
}
"""Rows of those of the 70 MHR keypoints, as SAM 3D Body returns them, that are joints of SMPL22 too."""

_LEAST_STD = 0.0015
"""Metres. No joint is known better than its bin: 5 mm, over the root of 12."""

_THINNEST = 0.01
"""Metres, root mean square. Joints that spread less do not say how large a body is, or how it is turned."""


@dataclass(frozen=True, slots=True, eq=False)
class PlacedBody:
    """A body in the frame of the pose: `scale * rotation @ x + translation` of what was passed in."""

    vertices: NDArray[np.float64]
    """(V, 3) float64, metres, frame of the pose: camera, x right, y down, z forward."""
    joints: NDArray[np.float64]
    """(K, 3) float64, metres, same frame; NaN where they were."""
    translation: NDArray[np.float64]
    """(3,) float64, metres."""
    scale: float
    """1 where it was not asked for."""
    rotation: NDArray[np.float64]
    """(3, 3) float64, determinant +1; identity where it was not asked for."""
    residuals: NDArray[np.float64]
    """(K,) float64, metres from each joint to the keypoint it was brought to; NaN where there was none."""
    translation_covariance: NDArray[np.float64]
    """(3, 3) float64, square metres; see `place_body`."""
    used: tuple[str, ...]
    """Names of the joints that were brought together."""

    @property
    def translation_std(self) -> NDArray[np.float64]:
        """(3,) float64, metres."""
        return np.sqrt(np.diag(self.translation_covariance))

    def __repr__(self) -> str:
        x, y, z = self.translation
        rms = float(np.sqrt(np.nanmean(self.residuals**2)))
        return (
            f"PlacedBody({len(self.vertices)} vertices at ({x:.3f}, {y:.3f}, {z:.3f}) m, "
            f"scale={self.scale:.3f}, {len(self.used)} joints within {rms:.3f} m rms)"
        )


def place_body(
    joints: ArrayLike,
    vertices: ArrayLike,
    pose: Pose,
    *,
    names: Sequence[str] | Mapping[str, int] | None = None,
    scale: bool = False,
    rotate: bool = False,
    weights: Literal["uncertainty"] | ArrayLike = "uncertainty",
) -> PlacedBody:
    """Bring a body to where a pose says that it is, by weighted least squares over the joints both have.

    Joints that are missing on either side, not valid in the pose or NaN are left out.

    The covariance of the translation is that of the weights, taken for inverse variances: the inverse of the
    normal equations, with what scale and rotation leave open in it. Where the residuals are larger than the
    weights let expect, it grows by their reduced chi-square. Errors that all joints share, such as a depth
    that is too small for the whole person, show in neither.

    Args:
        joints: `(K, 3)` float, metres, any origin, axes as the pose's unless `rotate`; rows may be NaN.
        vertices: `(V, 3)` float, metres, same frame as `joints`.
        pose: metric.
        names: of the rows of `joints`, or a mapping from name to row such as `MHR70`; None for SMPL22's.
        scale: fit one factor for the size of the body.
        rotate: fit a rotation.
        weights: `uncertainty` for the inverse of the mean variance of each keypoint's `xyz_std`, at least
            1.5 mm, the median of the others where it is not known; or `(K,)`, at least 0, 1 / square metres.

    Raises:
        InvalidInputError: an array is unusable, names and rows do not match, or there are too few joints: one
            for the translation, two apart for a scale, three that are not in line for a rotation.

    Source:
        Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991.
    """
    rows = checked_points("joints", joints, gaps=True)
    mesh = checked_points("vertices", vertices)
    places = _places(names, len(rows))
    matched: dict[int, int] = {}  # row of joints -> place in the pose
    for name, row in places.items():
        spelling = canonical_name(name, pose.names)
        if spelling is not None:
            matched[row] = pose.names.index(spelling)
    seen = np.full(rows.shape, np.nan)
    seen[list(matched)] = pose.xyz[list(matched.values())]
    doubtful = [row for row, place in matched.items() if not pose[place].valid]
    seen[doubtful] = np.nan
    weight = _weights(weights, pose, matched, len(rows))
    usable = np.isfinite(rows).all(axis=1) & np.isfinite(seen).all(axis=1) & (weight > 0)
    used = tuple(name for name, row in places.items() if usable[row])
    source, target, share = rows[usable], seen[usable], weight[usable]
    _check_enough(source, target, share, used, scale, rotate)

    total = share.sum()
    source_mean, target_mean = share @ source / total, share @ target / total
    source_off, target_off = source - source_mean, target - target_mean
    rotation = _rotation(source_off, target_off, share) if rotate else np.eye(3)
    turned = source_off @ rotation.T
    factor = 1.0
    if scale:
        factor = float((share @ (turned * target_off).sum(axis=1)) / (share @ (turned**2).sum(axis=1)))
        if not factor > 0:
            raise InvalidInputError(
                f"[mesh] expected a body that fits at a scale above 0; got {factor:.3g} for the joints "
                f"{', '.join(used)}; its axes are not the camera's: pass rotate=True"
            )
    translation = target_mean - factor * rotation @ source_mean
    placed = factor * rows @ rotation.T + translation
    residuals = np.full(len(rows), np.nan)
    residuals[usable] = np.linalg.norm(placed[usable] - target, axis=1)
    covariance = _covariance(placed[usable] - translation, share, residuals[usable], scale, rotate)
    return PlacedBody(
        vertices=factor * mesh @ rotation.T + translation,
        joints=placed,
        translation=translation,
        scale=factor,
        rotation=rotation,
        residuals=residuals,
        translation_covariance=covariance,
        used=used,
    )


def _places(names: Sequence[str] | Mapping[str, int] | None, count: int) -> dict[str, int]:
    """Row of each name."""
    if names is None:
        names = SMPL22.keypoints
    if isinstance(names, Mapping):
        places = dict(names)
    else:
        places = {name: row for row, name in enumerate(names)}
        if len(places) != count or len(names) != count:
            raise InvalidInputError(
                f"[mesh] expected a name for each of the {count} joints, no name twice; got {len(names)}: "
                f"{', '.join(names)}; pass names, or a mapping from name to row"
            )
    outside = {name: row for name, row in places.items() if not 0 <= row < count}
    if outside:
        raise InvalidInputError(
            f"[mesh] expected names of rows 0 to {count - 1}; got {outside}; pass all rows of the model"
        )
    return places


def _weights(
    weights: Literal["uncertainty"] | ArrayLike, pose: Pose, matched: Mapping[int, int], count: int
) -> NDArray[np.float64]:
    """`(count,)`, 1 / square metres; 1 where nothing is known of any joint."""
    if isinstance(weights, str):
        if weights != "uncertainty":
            raise InvalidInputError(
                f"[mesh] expected weights to be 'uncertainty' or an array; got {weights!r}; pass one of them"
            )
        variance = np.full(count, np.nan)
        variance[list(matched)] = (pose.xyz_std[list(matched.values())] ** 2).mean(axis=1)
        known = np.isfinite(variance)
        fallback = float(np.median(variance[known])) if known.any() else 1.0
        return 1 / np.maximum(np.where(known, variance, fallback), _LEAST_STD**2)
    array = np.array(weights, dtype=np.float64)
    if array.shape != (count,) or not np.isfinite(array).all() or (array < 0).any():
        raise InvalidInputError(
            f"[mesh] expected {count} finite weights of at least 0, one for each joint; got "
            f"{array.tolist()}; pass 1 / variance"
        )
    return array


def _check_enough(
    source: NDArray[np.float64],
    target: NDArray[np.float64],
    share: NDArray[np.float64],
    used: Sequence[str],
    scale: bool,
    rotate: bool,
) -> None:
    needed = 3 if rotate else 2 if scale else 1
    wanted = ", ".join(["translation"] + ["scale"] * scale + ["rotation"] * rotate)
    got = f"{len(used)} ({', '.join(used)})" if used else "none"
    if len(used) < needed:
        raise InvalidInputError(
            f"[mesh] expected at least {needed} joints of the body, answered and valid in the pose, for "
            f"{wanted}; got {got}; ask for more keypoints, or fit less"
        )
    for points, whose in ((source, "the body's"), (target, "the pose's")):
        off = np.sqrt(share / share.sum())[:, None] * (points - share @ points / share.sum())
        spread = np.linalg.svd(off, compute_uv=False)
        if (scale or rotate) and spread[0] < _THINNEST:
            raise InvalidInputError(
                f"[mesh] expected joints apart from each other for {wanted}; {whose} {got} spread "
                f"{spread[0]:.2g} m; ask for joints farther apart, or fit the translation only"
            )
        if rotate and spread[1] < _THINNEST:
            raise InvalidInputError(
                f"[mesh] expected joints that are not in one line for {wanted}; {whose} {got} leave it by "
                f"{spread[1]:.2g} m; ask for a joint beside the line, or do not rotate"
            )


def _rotation(
    source_off: NDArray[np.float64], target_off: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The proper rotation that turns the one onto the other best, whatever the scale."""
    left, _, right = np.linalg.svd(target_off.T @ (share[:, None] * source_off))
    mirror = np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ np.diag([1.0, 1.0, mirror]) @ right, dtype=np.float64)


def _covariance(
    arms: NDArray[np.float64],
    share: NDArray[np.float64],
    residuals: NDArray[np.float64],
    scale: bool,
    rotate: bool,
) -> NDArray[np.float64]:
    """Of the translation; `arms` (N, 3) are the joints, scaled and turned, before it."""
    zero = np.zeros(len(arms))
    x, y, z = arms.T
    columns = [np.broadcast_to(axis, arms.shape) for axis in np.eye(3)]
    if scale:
        columns.append(arms)
    if rotate:  # a small turn about each axis
        columns += [np.stack(turn, axis=1) for turn in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    jacobian = np.stack(columns, axis=2)  # (N, 3, parameters)
    normal = np.einsum("n,nap,naq->pq", share, jacobian, jacobian)
    covariance = np.linalg.inv(normal)[:3, :3]
    freedom = 3 * len(arms) - len(columns)
    surprise = float(share @ residuals**2) / freedom if freedom > 0 else 1.0
    return np.asarray(covariance * max(1.0, surprise), dtype=np.float64)
