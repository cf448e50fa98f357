# SPDX-License-Identifier: Apache-2.0
"""Token ids of questions and answers, several questions of one image packed behind its shared prefix.

Wording and tokenizer do not belong here; both are the exporter's, so that training and inference agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepose.errors import InvalidInputError
from edgepose.export.prompts import build_prompt
from edgepose.export.tokenizer import LlamaTokenizer
from edgepose.keypoint_text import KeypointText

__all__ = ["IGNORED", "PLACES", "PackedQuestions", "QuestionBook"]

PLACES = 3
"""Decimals of a coordinate."""

IGNORED = -100
"""Label of positions without loss."""


@dataclass(frozen=True, slots=True)
class PackedQuestions:
    """A batch of images with Q questions each, T tokens behind the prefix; see `QuestionBook`."""

    ids: Tensor
    """(B, T) int64, question and answer of each slot."""
    labels: Tensor
    """(B, Q, A + 1) int64, the tokens of the answers and the end token; `IGNORED` where there is none."""


class QuestionBook(nn.Module):
    """Questions by number, and how they are packed.

    The prefix holds everything up to the image and the image; behind it each question has a slot of the same
    length, question first, then the answer. A slot sees the prefix and itself and its positions continue the
    prefix, so each question is computed as if it were alone. It is a module so that its tables follow a model
    to the device; it has nothing to train and nothing to save.
    """

    lengths: Tensor
    """(names,) tokens of each question."""
    digits: Tensor
    """(10,) token of each digit."""
    form: Tensor
    """(A,) tokens of an answer, -1 where a digit is free."""
    free: Tensor
    """(2 * PLACES,) places of the free digits in `form`."""
    _questions: Tensor

    def __init__(self, tokenizer: LlamaTokenizer, texts: Sequence[KeypointText], *, patches: int) -> None:
        """
        Args:
            tokenizer: Of the model.
            texts: What is asked about, in the order of the numbers.
            patches: Image tokens in a prompt.
        """
        super().__init__()
        prompt = build_prompt("keypoint", tokenizer, patches)
        self.patches = patches
        self.before: list[int] = []
        for segment in prompt["prefix"]:
            self.before += segment.get("tokens") or tokenizer.encode(segment.get("text", ""))
        questions = [_suffix(prompt["suffix"], tokenizer, text) for text in texts]
        self.longest = max(map(len, questions))
        self._end = tokenizer.end
        require = tokenizer.require
        number = [require("0"), require("."), *[-1] * PLACES]
        form = torch.tensor([require("▁["), *number, require(","), *number, require("]")])
        self.slot = self.longest + len(form)
        written = torch.full((len(questions), self.slot), tokenizer.pad)
        for row, question in enumerate(questions):
            written[row, : len(question)] = torch.tensor(question)
        for name, table in (
            ("lengths", torch.tensor([len(question) for question in questions])),
            ("digits", torch.tensor([require(str(digit)) for digit in range(10)])),
            ("form", form),
            ("free", torch.nonzero(form < 0).flatten()),
            ("_questions", written),
        ):
            self.register_buffer(name, table, persistent=False)

    @property
    def prefix(self) -> int:
        """Tokens of the prefix."""
        return len(self.before) + self.patches

    @property
    def answer_starts(self) -> Tensor:
        """(names,) places in a slot whose output is the first token of the answer."""
        return self.lengths - 1

    @property
    def image_places(self) -> slice:
        """Places of the image in a packed sequence."""
        return slice(len(self.before), self.prefix)

    def digit_places(self, names: Tensor) -> Tensor:
        """(B, Q * 2 * PLACES) places in a packed sequence whose outputs are the digits, for (B, Q) names."""
        slots = torch.arange(names.shape[1], device=names.device) * self.slot
        first = self.prefix + slots + self.answer_starts[names.clamp(min=0)]
        return (first.unsqueeze(-1) + self.free).flatten(1)

    def answers(self, xy: Tensor) -> Tensor:
        """Tokens of answers, (..., A), for coordinates (..., 2) from 0 to 1."""
        thousandths = (xy * 10**PLACES).round().long().clamp(0, 10**PLACES - 1)
        powers = 10 ** torch.arange(PLACES - 1, -1, -1, device=xy.device)
        digits = (thousandths.unsqueeze(-1) // powers) % 10
        written = self.form.expand(*xy.shape[:-1], -1).clone()
        written[..., self.free] = self.digits[digits.flatten(-2)]
        return written

    def read(self, digits: Tensor) -> Tensor:
        """Coordinates (..., 2) of chosen digits (..., 2 * PLACES), 0 to 9 each."""
        powers = 10.0 ** -torch.arange(1, PLACES + 1, device=digits.device)
        return (digits.reshape(*digits.shape[:-1], 2, PLACES) * powers).sum(-1)

    def pack(self, names: Tensor, xy: Tensor) -> PackedQuestions:
        """Packs questions and their answers.

        Args:
            names: (B, Q) int64 numbers of the questions, -1 where a slot is empty.
            xy: (B, Q, 2) coordinates from 0 to 1.
        """
        asked = names >= 0
        known = names.clamp(min=0)
        ids = self._questions[known].clone()
        answers = self.answers(xy)
        places = self.lengths[known].unsqueeze(-1) + torch.arange(len(self.form), device=ids.device)
        ids.scatter_(2, places, answers)
        end = torch.full_like(answers[..., :1], self._end)
        labels = torch.cat((answers, end), -1).masked_fill(~asked.unsqueeze(-1), IGNORED)
        return PackedQuestions(ids.flatten(1), labels)

    def questions(self, names: Tensor) -> tuple[Tensor, Tensor]:
        """Questions alone, filled up in front to the length of the longest.

        Args:
            names: (B, Q) int64 numbers of the questions; empty slots take any.

        Returns:
            (B, Q, longest) token ids, and (B, Q) the rotary position of the first; what fills up has
            positions inside the prefix.
        """
        known = names.clamp(min=0)
        lengths = self.lengths[known]
        places = torch.arange(self.longest, device=names.device) - (self.longest - lengths).unsqueeze(-1)
        ids = self._questions[known].gather(2, places.clamp(min=0))
        return ids, self.prefix + lengths - self.longest

    def positions(self, slots: int) -> Tensor:
        """(1, prefix + slots * slot) rotary positions."""
        device = self.form.device
        within = self.prefix + torch.arange(self.slot, device=device).repeat(slots)
        return torch.cat((torch.arange(self.prefix, device=device), within)).unsqueeze(0)

    def allowed(self, slots: int) -> Tensor:
        """(1, T, T) bool, which token may attend to which."""
        device = self.form.device
        slot = torch.arange(slots, device=device).repeat_interleave(self.slot)
        slot = torch.cat((slot.new_full((self.prefix,), -1), slot))
        order = torch.arange(len(slot), device=device)
        seen = (slot[None, :] == -1) | (slot[None, :] == slot[:, None])
        return (seen & (order[None, :] <= order[:, None]))[None]


def _suffix(template: str, tokenizer: LlamaTokenizer, text: KeypointText) -> list[int]:
    filled = template.replace("{name}", text.name).replace("{description}", text.description)
    if "{" in filled:
        raise InvalidInputError(
            f"[questions] expected texts without braces; got {text!r}; write the description without them"
        )
    return tokenizer.encode(filled)
