# SPDX-License-Identifier: Apache-2.0
"""What a bundle is asked about an image and how its answers are read, chosen by the bundle's codec.

A new way to write coordinates is one module here and one line below. Running graphs does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgepose.bundle import BinCodecSpec, Bundle, DigitCodecSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgepose._core import Answer, Form
    from edgepose.backends import EncoderInputs
    from edgepose.camera import Camera
    from edgepose.crop import SquareCrop
    from edgepose.gpu_frames import GpuFrame
    from edgepose.keypoint_argument import KeypointsArgument
    from edgepose.prompts import Prompt
    from edgepose.results import Pose

__all__ = ["Inquiry", "Questions", "open_questions"]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One run of the model: what it sees, what it is asked, and what its answers mean."""

    see: Callable[[], EncoderInputs]
    """Makes the inputs of the vision encoder, or says how to make them on the GPU."""
    prompt: Prompt
    form: Form
    """How each answer is written."""
    read: Callable[[Sequence[Answer]], Pose]
    """Turns the answers, one for each question of the prompt, into the pose of one person."""
    draft: Callable[[Pose, SquareCrop | None], Sequence[Sequence[int]]]
    """Guesses of the answers, token ids, one for each question: those that would say again what an earlier
    pose says. With it goes the `crop` of the inquiry that it was an answer to."""
    image_grid: tuple[int, int] | None = None
    """Rows and columns of image tokens, where their positions depend on it."""
    crop: SquareCrop | None = None
    """The part of the image that it is about; None for the whole."""


class Questions(Protocol):
    """What one bundle can be asked. For one thread at a time."""

    @property
    def alphabets(self) -> list[list[int]]:
        """Sets of tokens between which an answer chooses; forms refer to them."""
        ...

    def locate(
        self,
        image: NDArray[np.uint8] | GpuFrame,
        *,
        boxes: Sequence[Sequence[float] | SquareCrop] | None,
        keypoints: KeypointsArgument,
        camera: Camera | None,
    ) -> list[Inquiry]:
        """Ask for named keypoints; see `edgepose.Localizer.locate`."""
        ...

    def ask(
        self, image: NDArray[np.uint8] | GpuFrame, command: str, *, camera: Camera | None
    ) -> list[Inquiry]:
        """Ask for what a command is about; see `edgepose.Localizer.ask`."""
        ...


def open_questions(bundle: Bundle, *, exact: bool) -> Questions:
    """The questions that fit a bundle.

    Args:
        bundle: an open bundle.
        exact: whether answers may leave their form, so that they are read as the published code reads them.
    """
    from edgepose.questions.frame_questions import FrameQuestions
    from edgepose.questions.keypoint_questions import KeypointQuestions

    codec = bundle.manifest.codec
    kinds: dict[type, Callable[..., Questions]] = {
        DigitCodecSpec: KeypointQuestions,
        BinCodecSpec: FrameQuestions,
    }
    return kinds[type(codec)](bundle, codec, exact=exact)
