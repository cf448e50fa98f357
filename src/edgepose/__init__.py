# SPDX-License-Identifier: Apache-2.0
"""edgepose: language-guided pose models on edge devices, from checkpoint to coordinates."""

from __future__ import annotations

from edgepose.camera import Camera
from edgepose.errors import (
    BackendError,
    BackendUnavailableError,
    BundleError,
    DecodeError,
    EdgePoseError,
    EngineMismatchError,
    InvalidInputError,
)
from edgepose.keypoint_set import KeypointSet
from edgepose.keypoint_text import KeypointText
from edgepose.keypoints import COCO17, H36M17, MPII16
from edgepose.localizer import Localizer
from edgepose.results import Keypoint, Localization, Pose
from edgepose.skeleton import SMPL22, Skeleton

__version__ = "0.1.0"

__all__ = [
    "COCO17",
    "H36M17",
    "MPII16",
    "SMPL22",
    "BackendError",
    "BackendUnavailableError",
    "BundleError",
    "Camera",
    "DecodeError",
    "EdgePoseError",
    "EngineMismatchError",
    "InvalidInputError",
    "Keypoint",
    "KeypointSet",
    "KeypointText",
    "Localization",
    "Localizer",
    "Pose",
    "Skeleton",
    "__version__",
]
