# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is asked and how it answers, in token ids: those of the runtime, from the same pieces.

Which questions are asked about a frame does not belong here: see `lessons`.
"""

from __future__ import annotations

import functools
from pathlib import Path

from edgepose.bundle import BinCodecSpec, FrameSpec, PromptSpec
from edgepose.export.checkpoint import Checkpoint, open_checkpoint
from edgepose.export.families.description import Source
from edgepose.export.families.options import Options
from edgepose.export.families.taihri import TAIHRI
from edgepose.export.weights import derive_config
from edgepose.prompts import build_prompt
from edgepose.training.taihri.answers import AnswerFormat

__all__ = ["Language"]


class Language:
    """Prompts, answers and view of one checkpoint, as `edgepose export` finds them in its files."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """
        Raises:
            InvalidInputError: The files are not those of a TAIHRI.
        """
        config = derive_config(checkpoint, TAIHRI.architecture)
        tokenizer = TAIHRI.load_tokenizer(checkpoint)
        source = Source(checkpoint, config, tokenizer, TAIHRI.keypoint_set, Options())
        codec = TAIHRI.codec.spec(source)
        assert isinstance(codec, BinCodecSpec)
        _, view = TAIHRI.view.specs(source)
        assert isinstance(view, FrameSpec)
        self.codec: BinCodecSpec = codec
        self.view: FrameSpec = view
        self.prompt: PromptSpec = TAIHRI.questions.specs(source)[0]
        self.format = AnswerFormat(codec)
        self.joints = tuple(codec.joints)
        """Names of the joints, in the order of the codec and of rendered frames."""
        self._tokenizer = tokenizer.tokenizer
        self.suffix = functools.lru_cache(4096)(self._suffix)

    @classmethod
    def open(cls, path: Path) -> Language:
        """Reads the files of a checkpoint directory."""
        return cls(open_checkpoint(path))

    @property
    def image_token(self) -> int:
        """Id that stands for a row of the frame."""
        assert self.prompt.image_token is not None  # exporters of this family write it
        return self.prompt.image_token

    def stem(self, image_tokens: int) -> tuple[int, ...]:
        """Ids of what every prompt begins with, up to the end of the frame."""
        ids: list[int] = []
        for segment in self.prompt.prefix:
            ids += [self.image_token] * image_tokens if segment.image is not None else segment.tokens or ()
        return tuple(ids)

    def asked(self, names: list[str]) -> str:
        """The published question for joints by name."""
        assert self.prompt.asked is not None
        return self.prompt.asked.replace("{names}", ", ".join(names))

    def _suffix(self, question: str) -> tuple[int, ...]:
        """Ids of a question, from behind the frame to where the answer begins."""
        self._tokenizer.encode_special_tokens = True
        whole = build_prompt(self.prompt, self._tokenizer, [{"question": question}], image=1)
        return whole.written(0, self.image_token)[len(self.stem(1)) :]
