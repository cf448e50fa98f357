# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of checkpoints, read into what a bundle stores; one file for each kind.

Prompts do not belong here.
"""

from __future__ import annotations

from edgepose.export.tokenizer.byte_level import ByteLevelTokenizer, load_byte_level_tokenizer
from edgepose.export.tokenizer.llama import IMAGE_PLACEHOLDER, LlamaTokenizer, load_tokenizer
from edgepose.export.tokenizer.llama_sentencepiece import parse_sentencepiece
from edgepose.export.tokenizer.source import CheckpointTokenizer

__all__ = [
    "IMAGE_PLACEHOLDER",
    "ByteLevelTokenizer",
    "CheckpointTokenizer",
    "LlamaTokenizer",
    "load_byte_level_tokenizer",
    "load_tokenizer",
    "parse_sentencepiece",
]
