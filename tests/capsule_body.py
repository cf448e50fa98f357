# SPDX-License-Identifier: Apache-2.0
"""A body of capsules around the joints of SMPL22: a mesh whose joints are known, for tests."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.skeleton import SMPL22

_STANDING = {
    "pelvis": (0.0, 0.0, 0.0), "left_hip": (0.07, 0.08, 0.0), "right_hip": (-0.07, 0.08, 0.0),
    "spine1": (0.0, -0.11, 0.03), "left_knee": (0.10, 0.46, -0.02), "right_knee": (-0.10, 0.46, -0.01),
    "spine2": (0.0, -0.24, 0.02), "left_ankle": (0.10, 0.87, 0.04), "right_ankle": (-0.10, 0.87, 0.05),
    "spine3": (0.0, -0.30, 0.0), "left_foot": (0.12, 0.92, -0.09), "right_foot": (-0.12, 0.92, -0.08),
    "neck": (0.0, -0.51, 0.03), "left_collar": (0.08, -0.42, 0.02), "right_collar": (-0.08, -0.42, 0.02),
    "head": (0.0, -0.60, -0.02), "left_shoulder": (0.18, -0.46, 0.03), "right_shoulder": (-0.18, -0.46, 0.03),
    "left_elbow": (0.36, -0.28, 0.02), "right_elbow": (-0.36, -0.28, 0.03),
    "left_wrist": (0.40, -0.10, -0.18), "right_wrist": (-0.42, -0.05, -0.15),
}  # fmt: skip
"""Metres from the pelvis, axes of a camera that looks at the person's front: x right, y down, z away."""


def joints() -> NDArray[np.float64]:
    """(22, 3), in the order of SMPL22."""
    return np.array([_STANDING[name] for name in SMPL22.keypoints])


def mesh(sections: int = 12) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices and faces: a capsule for each bone and a ball for the head."""
    trimesh = pytest.importorskip("trimesh")
    places, parts = joints(), []
    for joint, parent in enumerate(SMPL22.parents):
        if parent < 0:
            continue
        start, end = places[parent], places[joint]
        trunk = "spine" in SMPL22.keypoints[joint]
        part = trimesh.creation.capsule(
            height=float(np.linalg.norm(end - start)), radius=0.11 if trunk else 0.055, count=[sections] * 2
        )
        part.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], end - start))
        part.apply_translation((start + end) / 2)
        parts.append(part)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.11)
    ball.apply_translation(places[SMPL22.keypoints.index("head")])
    body = trimesh.util.concatenate([*parts, ball])
    return np.asarray(body.vertices), np.asarray(body.faces, dtype=np.int64)
