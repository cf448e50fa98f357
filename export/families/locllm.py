# SPDX-License-Identifier: Apache-2.0
"""LocLLM, the description.

Sizes do not belong here; they come from the checkpoint.
"""

from __future__ import annotations

import dataclasses

from edgepose.export.architectures import DINOV2_LLAMA
from edgepose.export.checkpoint import Checkpoint
from edgepose.export.families.codecs import DigitCodec
from edgepose.export.families.description import Family
from edgepose.export.families.questions import KeypointQuestions
from edgepose.export.families.views import CLIP_MEAN, CLIP_STD, CropView
from edgepose.export.tokenizer import LlamaTokenizer, load_tokenizer

__all__ = ["LOCLLM", "LOCLLM_3D"]


def _load_tokenizer(checkpoint: Checkpoint) -> LlamaTokenizer:
    return load_tokenizer(checkpoint.path, config=checkpoint.config)


LOCLLM = Family(
    name="locllm",
    model_types=("locllm",),
    connector="linear",
    architecture=DINOV2_LLAMA,
    load_tokenizer=_load_tokenizer,
    # The crop is the box squared, without margin; CLIP's constants although the encoder is DINOv2.
    view=CropView(scale=1.0, mean=CLIP_MEAN, std=CLIP_STD),
    questions=KeypointQuestions(("keypoint", "simple", "llama2")),
    codec=DigitCodec((3, 3)),
    keypoint_set="coco17",
    answer="2d",
)
"""Source: LocLLM (arXiv 2406.04659), its published evaluation of COCO."""

LOCLLM_3D = dataclasses.replace(
    LOCLLM,
    answer="3d",
    # One metre to either side of the root joint, the pelvis.
    codec=DigitCodec((3, 3, 6), depth_range_mm=2000.0),
    keypoint_set="h36m17",
)
"""Source: LocLLM, folder `h36m` of its weights and its published evaluation of Human3.6M."""
