# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of random weights in the published layouts, for demonstrations, tests and measurements.

Nothing here is learned, and reading checkpoints does not belong here.
"""

from __future__ import annotations

from edgepose.export.random_checkpoint.byte_level_vocabulary import train_byte_level_tokenizer
from edgepose.export.random_checkpoint.dinov2_llama_size import SIZES, RandomSize
from edgepose.export.random_checkpoint.qwen3_vl_size import QWEN3_VL_SIZES, RandomQwen3VlSize
from edgepose.export.random_checkpoint.sentencepiece_vocabulary import train_tokenizer
from edgepose.export.random_checkpoint.writer import SIZES_OF, AnySize, write_random_checkpoint

__all__ = [
    "QWEN3_VL_SIZES",
    "SIZES",
    "SIZES_OF",
    "AnySize",
    "RandomQwen3VlSize",
    "RandomSize",
    "train_byte_level_tokenizer",
    "train_tokenizer",
    "write_random_checkpoint",
]
