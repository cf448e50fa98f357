# SPDX-License-Identifier: Apache-2.0
"""SentencePiece itself, to hold tokenizers of Llama's form against."""

from __future__ import annotations

from pathlib import Path

import sentencepiece

from edgepose.export.tokenizer import LlamaTokenizer, parse_sentencepiece


class Oracle:
    """SentencePiece with and without the blank it puts in front."""

    def __init__(self, model: Path) -> None:
        self.plain = sentencepiece.SentencePieceProcessor(model_file=str(model))
        proto = parse_sentencepiece(model.read_bytes())
        proto.normalizer_spec.add_dummy_prefix = False
        self.exact = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


Pair = tuple[LlamaTokenizer, Oracle]
