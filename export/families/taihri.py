# SPDX-License-Identifier: Apache-2.0
"""TAIHRI, the description.

Sizes do not belong here; they come from the checkpoint.
"""

from __future__ import annotations

from edgepose.export.architectures import QWEN3_VL
from edgepose.export.chat_prompt import ChatWording
from edgepose.export.checkpoint import Checkpoint
from edgepose.export.families.codecs import BinCodec
from edgepose.export.families.description import Family
from edgepose.export.families.questions import ChatQuestions
from edgepose.export.families.views import FrameView
from edgepose.export.tokenizer import ByteLevelTokenizer, load_byte_level_tokenizer

__all__ = ["TAIHRI"]


def _load_tokenizer(checkpoint: Checkpoint) -> ByteLevelTokenizer:
    return load_byte_level_tokenizer(checkpoint.path)


TAIHRI = Family(
    name="taihri",
    model_types=("qwen3_vl",),
    architecture=QWEN3_VL,
    load_tokenizer=_load_tokenizer,
    view=FrameView(
        canonical_focal=1000.0,
        min_pixels=16 * 28 * 28,
        max_pixels=2560 * 28 * 28,
        patch_size=16,
        merge=2,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    questions=ChatQuestions(
        ChatWording(
            system="You are a helpful assistant",
            image="<|image_pad|>",
            rendered=(
                "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n"
                "<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{question}<|im_end|>\n"
                "<|im_start|>assistant\n"
            ),
            asked=(
                "Can you provide the 2D and 3D coordinates of the following keypoints of the person: {names}?"
            ),
        )
    ),
    codec=BinCodec(
        bins=1000,
        x=(-2.5, 2.5),
        y=(-2.5, 2.5),
        z=(0.0, 4.0),
        end="<|im_end|>",
        max_tokens=2048,
        repetition_penalty=1.05,
    ),
    keypoint_set="smpl22",
    answer="3d",
)
"""Source: TAIHRI (arXiv 2604.08921), formats of its published inference; Qwen3-VL for the chat."""
