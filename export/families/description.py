# SPDX-License-Identifier: Apache-2.0
"""What a model family is: the fields in which families differ, and what each of its parts has to do.

The families themselves, and the parts, are in files of their own beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from edgepose.bundle import CodecSpec, CropSpec, FrameSpec, KeypointsSpec, PromptSpec
from edgepose.export.architectures import Architecture
from edgepose.export.checkpoint import Checkpoint
from edgepose.export.families.options import Options
from edgepose.export.models import ModelConfig
from edgepose.export.tokenizer import CheckpointTokenizer

__all__ = ["Codec", "Family", "Questions", "Source", "View"]

Kind = TypeVar("Kind", bound=CheckpointTokenizer)
"""Kind of tokenizer of a family."""


@dataclass(frozen=True, slots=True)
class Source(Generic[Kind]):
    """What the parts of a manifest are made from."""

    checkpoint: Checkpoint
    config: ModelConfig[Any, Any]
    """Sizes of all parts of the model."""
    tokenizer: Kind
    keypoint_set: str
    """Name of the default keypoint set."""
    options: Options


class View(Protocol):
    """What the model sees of an image."""

    OPTIONS: ClassVar[frozenset[str]]
    """Fields of `Options` that it takes; the other kinds of parts have them too."""

    def specs(self, source: Source[Any]) -> tuple[CropSpec | None, FrameSpec | None]:
        """`crop` and `frame` of a manifest; one of them is None."""


class Codec(Protocol[Kind]):
    """How coordinates are written in tokens."""

    OPTIONS: ClassVar[frozenset[str]]

    def spec(self, source: Source[Kind]) -> CodecSpec:
        """`codec` of a manifest.

        Raises:
            InvalidInputError: The tokenizer lacks a token, or an option is unusable.
        """

    def answer_head(self, spec: Any, source: Source[Kind]) -> tuple[int, ...]:
        """Ids of all tokens that answers are written with, ascending."""


class Questions(Protocol[Kind]):
    """How keypoints are asked for."""

    OPTIONS: ClassVar[frozenset[str]]

    def specs(self, source: Source[Kind]) -> tuple[PromptSpec, KeypointsSpec]:
        """`prompt` and `keypoints` of a manifest.

        Raises:
            InvalidInputError: An option, or what the checkpoint says of its prompts, is unusable.
        """


@dataclass(frozen=True, slots=True)
class Family(Generic[Kind]):
    """Everything that differs between systems, apart from sizes, which come from the checkpoint."""

    name: str
    model_types: tuple[str, ...]
    """Accepted values of `model_type` in `config.json`."""
    architecture: Architecture[Any, Any]
    load_tokenizer: Callable[[Checkpoint], Kind]
    view: View
    questions: Questions[Kind]
    codec: Codec[Kind]
    keypoint_set: str
    """Name of the default keypoint set."""
    answer: Literal["2d", "3d"]
    """Name of what this description answers; a family published with several answers has one for each."""
    connector: Literal["linear", "mlp"] | None = None
    """What tells the family from others with the same `model_type`; None where nothing has to."""

    @property
    def options(self) -> frozenset[str]:
        """Fields of `Options` that the family takes."""
        return self.view.OPTIONS | self.questions.OPTIONS | self.codec.OPTIONS

    @property
    def form(self) -> str:
        """What its checkpoints are known by, in words, for messages."""
        connectors = {"linear": "1 linear layer", "mlp": "2 or more linear layers"}
        suffix = f" with a connector of {connectors[self.connector]}" if self.connector else ""
        return f"model_type {' or '.join(self.model_types)}{suffix}"

    def accepts(self, model_type: object, connector_layers: int | None) -> bool:
        """Whether a checkpoint with that `model_type` and that many linear layers is of this family.

        Args:
            model_type: As `config.json` has it.
            connector_layers: Linear layers of the connector; None where nobody has counted them.
        """
        kind = "linear" if connector_layers == 1 else "mlp"
        uncounted = self.connector is None or connector_layers is None
        return model_type in self.model_types and (uncounted or kind == self.connector)
