# SPDX-License-Identifier: Apache-2.0
"""People that never were, with the exact places of their joints: pictures to train and to evaluate with.

Everything is drawn from a seed, by PyTorch alone, on the CPU or a GPU. Training does not belong here.
"""

from __future__ import annotations

from edgepose.training.rendering.batches import CropBatch, FrameBatch
from edgepose.training.rendering.contact_sheet import contact_sheet
from edgepose.training.rendering.crops import render_crops
from edgepose.training.rendering.frames import render_frames
from edgepose.training.rendering.motions import Motion, motion_between, motion_from_mocap
from edgepose.training.rendering.people import People
from edgepose.training.rendering.pose_library import PoseLibrary
from edgepose.training.rendering.sets import write_clip, write_coco, write_frames
from edgepose.training.rendering.splits import evaluation_seed, training_seed
from edgepose.training.rendering.stage import Stage

__all__ = [
    "CropBatch",
    "FrameBatch",
    "Motion",
    "People",
    "PoseLibrary",
    "Stage",
    "contact_sheet",
    "evaluation_seed",
    "motion_between",
    "motion_from_mocap",
    "render_crops",
    "render_frames",
    "training_seed",
    "write_clip",
    "write_coco",
    "write_frames",
]
