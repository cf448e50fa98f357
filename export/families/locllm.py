# SPDX-License-Identifier: Apache-2.0
"""LocLLM, the description.

Sizes do not belong here; they come from the checkpoint.
"""

from __future__ import annotations

import dataclasses

from edgepose.export.families.description import CLIP_MEAN, CLIP_STD, CropNumbers, Family

__all__ = ["LOCLLM", "LOCLLM_3D"]

LOCLLM = Family(
    name="locllm",
    model_types=("locllm",),
    connector="linear",
    prompt_formats=("keypoint", "simple", "llama2"),
    codec_places=(3, 3),
    answer_tokens=13,
    # The crop is the box squared, without margin; CLIP's constants although the encoder is DINOv2.
    crop=CropNumbers(scale=1.0, mean=CLIP_MEAN, std=CLIP_STD),
    keypoint_set="coco17",
)
"""Source: LocLLM (arXiv 2406.04659), its published evaluation of COCO."""

LOCLLM_3D = dataclasses.replace(
    LOCLLM,
    answer="3d",
    codec_places=(3, 3, 6),
    answer_tokens=22,
    # One metre to either side of the root joint, the pelvis.
    depth_range_mm=2000.0,
    keypoint_set="h36m17",
)
"""Source: LocLLM, folder `h36m` of its weights and its published evaluation of Human3.6M."""
