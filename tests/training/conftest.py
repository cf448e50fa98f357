# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def mocap_file(shared_data: Path) -> Path:
    """Recorded poses of three people; tests that need them skip without them."""
    path = shared_data / "mocap" / "cmu_poses.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture
def small_mocap_file(tmp_path: Path) -> Path:
    """Two people of one recording each, upright with arms down, who turn about the vertical."""
    pytest.importorskip("torch")
    from edgepose.skeleton import SMPL22
    from edgepose.training.rendering.bones import LENGTHS, PARENTS

    down = {"knee", "ankle", "elbow", "wrist"}
    bones = np.zeros((22, 3))
    for place, name in enumerate(SMPL22.keypoints):
        side, _, part = name.rpartition("_")
        across = {"left": 1.0, "right": -1.0}.get(side, 0.0)
        if part in down:
            bones[place] = (0, -1, 0)
        elif part == "foot":
            bones[place] = (0, -0.4, 0.9)
        elif part == "hip":
            bones[place] = (across * 0.7, -0.7, 0)
        elif part in ("collar", "shoulder"):
            bones[place] = (across * 0.9, 0.4, 0)
        elif name != "pelvis":
            bones[place] = (0, 1, 0)
    joints = np.zeros((22, 3))
    for place, parent in enumerate(PARENTS[1:], 1):
        step = bones[place] / np.linalg.norm(bones[place]) * LENGTHS[place]
        joints[place] = joints[parent] + step
    turned = []
    for angle in np.linspace(0, np.pi, 12):
        cos, sin = np.cos(angle), np.sin(angle)
        turned.append(joints @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]))
    path = tmp_path / "mocap.npz"
    people = np.array(["01"] * 6 + ["02"] * 6)
    clips = np.array(["01_01"] * 6 + ["02_01"] * 6)
    np.savez(path, joints=np.array(turned, np.float16), subject=people, clip=clips)
    return path
