# SPDX-License-Identifier: Apache-2.0
"""Errors in metres of one data set's answers: global, aligned, by part, by joint, by distance.

Distances of single people do not belong here: see `edgepose.evaluation.metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation.metrics import Spread, align_at, align_mean, align_similarity, distances, spread
from edgepose.evaluation.samples import Answer, Measures, Sample, Table

__all__ = ["answered_places", "measure_space"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROOT = "pelvis"
_MM = 1000.0
_FEWEST_FOR_SIMILARITY = 4  # a similarity brings three joints almost wherever one wants
_DISTANCES = (0.0, 1.0, 1.75, 2.5, math.inf)  # metres from the camera


def answered_places(sample: Sample, answer: Answer) -> Floats:
    """Where the answered joints are, by what the model says.

    A metric model names the places. One that names pixels and depths behind the root joint is given the
    root's true depth and the camera, as published: `Z = depth + Z_root`, `X = (x - cx) / fx * Z`; the root's
    own depth is taken as 0. One that names pixels alone names no places.

    Returns:
        `(K, 3)` float64, metres, camera frame; NaN where nothing is known.
    """
    if np.isfinite(answer.xyz).any() or not np.isfinite(answer.depth).any():
        return answer.xyz
    places = np.full(answer.xyz.shape, np.nan)
    if sample.xyz is None or sample.camera is None or _ROOT not in sample.keypoints:
        return places
    root, camera = sample.keypoints.index(_ROOT), sample.camera
    depth = answer.depth / _MM
    depth[root] = 0.0
    z = depth + sample.xyz[root, 2]
    rays = (camera.undistort_points(answer.xy) - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    return np.column_stack([rays * z[:, None], z])


class _Errors:
    """Distances in millimetres of every answered joint, of each sample."""

    def __init__(self, samples: Sequence[Sample], answers: Sequence[Answer]) -> None:
        self.samples = samples
        pairs = list(zip(samples, answers, strict=True))
        places = [answered_places(sample, answer) for sample, answer in pairs]
        true = [
            np.full(p.shape, np.nan) if s.xyz is None else s.xyz for s, p in zip(samples, places, strict=True)
        ]
        both = list(zip(samples, places, true, strict=True))
        self.everywhere = [_MM * distances(p, t) for _, p, t in both]
        self.depth = [_MM * np.abs(p[:, 2] - t[:, 2]) for _, p, t in both]
        self.aligned = [_MM * distances(_align(s, p, t), t) for s, p, t in both]
        self.similar = [_MM * distances(_similar(s, p, t), t) for s, p, t in both]
        self.pixels = [distances(answer.xy, sample.xy) for sample, answer in pairs]
        self.far = [_nearest(t) for t in true]

    def row(self, chosen: Sequence[Flags]) -> dict[str, float]:
        """The figures of some joints: for each sample `(K,)` bool."""
        flags = np.concatenate([c & s.labelled for c, s in zip(chosen, self.samples, strict=True)])

        def over(errors: list[Floats]) -> Spread:
            return spread(np.concatenate(errors), flags)

        places, pixels = over(self.everywhere), over(self.pixels)
        return {
            "global": places.mean,
            "median": places.median,
            "depth": over(self.depth).mean,
            "aligned": over(self.aligned).mean,
            "PA": over(self.similar).mean,
            "px": pixels.mean,
            "answered": max(places.answered, pixels.answered),
            "joints": float(places.labelled),
        }

    def of_people(self, chosen: Sequence[bool]) -> dict[str, float]:
        """The figures of all joints of some samples."""
        return self.row([np.full(len(s.keypoints), c) for c, s in zip(chosen, self.samples, strict=True)])


def measure_space(samples: Sequence[Sample], answers: Sequence[Answer], *, aligned: bool) -> Measures:
    """The figures of people with joints in metres.

    Args:
        samples: with `xyz`.
        answers: to them.
        aligned: whether what is published is the error after moving the root to its place (Human3.6M), or in
            the camera's frame as it is (EgoBody, Harmony4D).
    """
    errors = _Errors(samples, answers)
    whole = errors.of_people([True] * len(samples))
    parts = {
        part: errors.of_people([sample.group == part for sample in samples])
        for part in dict.fromkeys(sample.group for sample in samples)
    }
    if aligned:
        metrics = {"MPJPE": whole["aligned"], "PA-MPJPE": whole["PA"]}
    else:
        metrics = {"G-MPJPE": whole["global"]}
        metrics.update({f"G-MPJPE {part.replace('_', ' ')}": row["global"] for part, row in parts.items()})
    metrics["answered"] = whole["answered"]
    in_pixels = not np.isfinite(whole["global"])
    scores = [
        spread(px if in_pixels else mm, s.labelled)
        for s, mm, px in zip(
            samples, errors.aligned if aligned else errors.everywhere, errors.pixels, strict=True
        )
    ]
    return Measures(
        metrics=metrics,
        tables=(
            Table("Parts of the body, mm", {"all asked": whole, **parts}),
            Table("Joints, mm", _by_joint(errors)),
            Table("Where people are and what is seen, mm", _by_place(errors)),
        ),
        scores=np.array([s.mean if s.answered == 1 else math.inf for s in scores]),
        score="mean error, px" if in_pixels else "mean error, mm",
        higher_is_better=False,
        notes=(
            "Millimetres over all answered joints that are in the image: `global` in the camera's frame as "
            "answered, `median` of the same, `depth` along the axis alone; `aligned` with the pelvis moved "
            "to its place, or the mean of the joints where the pelvis was not asked for; `PA` after the best "
            "rotation, scale and shift, for questions of four joints and more. `px` in the image. `answered` "
            "is the share of joints that the model named; the others count nowhere else.",
        ),
    )


def _by_joint(errors: _Errors) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for sample in errors.samples for name in sample.keypoints)
    rows = {
        name: errors.row([np.array([k == name for k in sample.keypoints]) for sample in errors.samples])
        for name in names
    }
    return {name: row for name, row in rows.items() if row["joints"]}


def _by_place(errors: _Errors) -> dict[str, dict[str, float]]:
    rows = {}
    for near, end in zip(_DISTANCES[:-1], _DISTANCES[1:], strict=True):
        label = f"{near:g} m and more" if math.isinf(end) else f"{near:g} to {end:g} m"
        rows[label] = errors.of_people([near <= metres < end for metres in errors.far])
    hidden = [
        np.zeros(len(s.keypoints), np.bool_) if s.occluded is None else s.occluded for s in errors.samples
    ]
    rows["seen joints"] = errors.row([~flags for flags in hidden])
    rows["hidden joints"] = errors.row(hidden)
    return {label: row for label, row in rows.items() if row["joints"]}


def _nearest(true: Floats) -> float:
    """Mean distance along the axis of a person's labelled joints, metres."""
    known = true[np.isfinite(true).all(axis=1), 2]
    return float(known.mean()) if len(known) else math.nan


def _align(sample: Sample, answered: Floats, true: Floats) -> Floats:
    root = sample.keypoints.index(_ROOT) if _ROOT in sample.keypoints else None
    if root is not None and sample.labelled[root]:
        return align_at(answered, true, root)
    return align_mean(answered, true, sample.labelled)


def _similar(sample: Sample, answered: Floats, true: Floats) -> Floats:
    if len(sample.keypoints) < _FEWEST_FOR_SIMILARITY:
        return np.full(answered.shape, np.nan)
    return align_similarity(answered, true, sample.labelled)
