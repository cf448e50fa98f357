# SPDX-License-Identifier: Apache-2.0
"""Gives a random Qwen3-VL model the habit to answer in blocks of joints and numbers.

Everything else about such a model is random and does not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from torch import Tensor

from edgepose.export.random_checkpoint.byte_level_vocabulary import BINS, JOINTS

__all__ = ["AnswerHabits"]

_AFTER = MappingProxyType(
    {
        "bin": BINS,
        "joint": JOINTS,
        "box": ("<|box_start|>",),
        "kpt2d": ("<|kpt2d_start|>",),
        "kpt3d": ("<|kpt3d_start|>",),
        "closing": ("<|box_end|>", "<|kpt2d_end|>", "<|kpt3d_end|>"),
        "end": ("<|im_end|>",),
    }
)
"""Classes of tokens that follow others."""

_BEFORE = MappingProxyType(
    {
        "name": ("<|box_start|>", *JOINTS),
        "number": BINS,
        "box": ("<|box_end|>",),
        "opening": ("<|kpt2d_start|>", "<|kpt3d_start|>"),
        "kpt2d": ("<|kpt2d_end|>",),
        "kpt3d": ("<|kpt3d_end|>",),
    }
)
"""Classes of tokens that decide what follows; all other tokens are `text`."""

_FOLLOWS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "text": {"box": 14.0, "kpt2d": 11.0},
        "name": {"bin": 14.0},
        "number": {"bin": 14.0, "joint": 20.0, "closing": 22.0},
        "box": {"kpt2d": 14.0},
        "opening": {"joint": 14.0},
        "kpt2d": {"kpt3d": 14.0},
        "kpt3d": {"end": 14.0},
    }
)
"""What the logits of a class gain behind a token of another. There are 1000 bins and 22 joints, so the
highest random logit is that of a bin unless joints and markers gain more."""


class AnswerHabits:
    """A few channels of the residual stream, and a few neurons of the last layer.

    Channels of the first kind say what a token is: the embedding table writes them, the final norm hides them
    from the head. Each of them drives one neuron, which writes to channels of the second kind what is to
    follow; the head reads those. No other weight writes to any of these channels or reads them.
    """

    CHANNELS = len(_FOLLOWS) + len(_AFTER)

    _MARK = 2.0
    """What the table writes into the first kind of channels."""
    _READ = 4.0
    """What the head reads the second kind with."""
    _GATE = 4.0
    """Input of a neuron's gate where its channel is set."""

    def __init__(self, vocabulary: Mapping[str, int], layers: int, stream: float) -> None:
        """
        Args:
            vocabulary: Tokens and their ids.
            layers: Of the decoder.
            stream: Standard deviation of the stream behind the last layer.
        """
        self._last = f"layers.{layers - 1}."
        self._stream = stream
        before = {token: name for name, tokens in _BEFORE.items() for token in tokens}
        states = list(_FOLLOWS)
        self._states = {
            number: states.index(before.get(token, "text")) for token, number in vocabulary.items()
        }
        self._classes = {
            vocabulary[token]: len(states) + place
            for place, tokens in enumerate(_AFTER.values())
            for token in tokens
        }

    def fill_table(self, table: Tensor) -> None:
        """Writes the channels of an embedding table or a head, and quietens tokens that no answer is of."""
        quiet = table.new_full((len(table), 1), 0.5)
        quiet[list(self._classes)] = 1.0
        table.mul_(quiet)
        table[:, : self.CHANNELS] = 0.0
        _scatter(table, self._states.items(), self._MARK)
        _scatter(table, self._classes.items(), self._READ)

    def keep_channels(self, name: str, tensor: Tensor) -> None:
        """Keeps the channels free of a random tensor, or puts the neurons into one of the last layer."""
        states = len(_FOLLOWS)
        merges = "merger" in name and ".linear_fc2." in name
        if merges or name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[: self.CHANNELS] = 0.0
        elif name.endswith("layernorm.weight"):
            tensor[: self.CHANNELS] = 0.0
            if name.endswith(f"{self._last}post_attention_layernorm.weight"):
                tensor[:states] = 1.0
        elif name.endswith("language_model.norm.weight"):
            tensor[:states] = 0.0
            tensor[states : self.CHANNELS] = 1.0
        for kind, drive in (("gate", self._GATE), ("up", 1.0)):
            if name.endswith(f"{self._last}mlp.{kind}_proj.weight"):
                tensor[:, :states] = 0.0
                tensor[:states] = 0.0
                tensor[range(states), range(states)] = drive * self._stream / self._MARK
        if name.endswith(f"{self._last}mlp.down_proj.weight"):
            tensor[:, :states] = 0.0
            fired = self._GATE / (1 + math.exp(-self._GATE))  # SiLU of the gate, times 1
            classes = list(_AFTER)
            for state, follows in enumerate(_FOLLOWS.values()):
                for after, gain in follows.items():
                    written = gain * self._stream / self._READ
                    tensor[states + classes.index(after), state] = written / fired


def _scatter(table: Tensor, places: Iterable[tuple[int, int]], value: float) -> None:
    rows, columns = zip(*places, strict=True)
    table[list(rows), list(columns)] = value
