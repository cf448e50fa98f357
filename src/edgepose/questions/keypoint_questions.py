# SPDX-License-Identifier: Apache-2.0
"""One crop for each person, one question for each keypoint, answers as decimal text.

How the text is read belongs to `edgepose.answers`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Answer, DigitCodec
from edgepose.answers import Location, depth_mm, depth_number, read_form, read_text
from edgepose.bundle import Bundle, DigitCodecSpec
from edgepose.crop import SquareCrop
from edgepose.detokenize import Detokenizer, clean_up_spaces
from edgepose.errors import InvalidInputError
from edgepose.gpu_frames import GpuFrame, WarpedCrop
from edgepose.keypoint_argument import KeypointsArgument, resolve_keypoints
from edgepose.keypoint_text import KeypointText
from edgepose.prompts import Prompt, build_prompt
from edgepose.questions import Inquiry
from edgepose.results import Keypoint, Pose

if TYPE_CHECKING:
    from edgepose.camera import Camera

__all__ = ["KeypointQuestions"]

_PROMPTS_KEPT = 64


class KeypointQuestions:
    """See `edgepose.questions.Questions`."""

    def __init__(self, bundle: Bundle, spec: DigitCodecSpec, *, exact: bool) -> None:
        crop = bundle.manifest.crop
        assert crop is not None  # a manifest with this codec and without a crop has no fixed image positions
        self._crop = crop
        self._bundle = bundle
        self._spec = spec
        self._exact = exact
        self._codec = DigitCodec(
            places=list(spec.places),
            open=spec.open,
            zero=spec.zero,
            point=spec.point,
            comma=spec.comma,
            close=spec.close,
            digits=list(spec.digits),
        )
        self._texts = bundle.manifest.keypoints.named()
        self._detokenize = Detokenizer(bundle.tokenizer)
        self._prompts: dict[tuple[KeypointText, ...], Prompt] = {}

    @property
    def alphabets(self) -> list[list[int]]:
        """See `edgepose.questions.Questions`."""
        return self._codec.alphabets

    def locate(
        self,
        image: NDArray[np.uint8] | GpuFrame,
        *,
        boxes: Sequence[Sequence[float] | SquareCrop] | None,
        keypoints: KeypointsArgument,
        camera: Camera | None,
    ) -> list[Inquiry]:
        """See `edgepose.questions.Questions`."""
        height, width = image.shape[:2]
        if camera is not None:
            raise InvalidInputError(
                f"[camera] expected none for a {self._bundle.manifest.family} bundle, which answers in the "
                f"image alone; got {camera!r}; leave it out"
            )
        if boxes is None or not len(boxes):
            raise InvalidInputError(
                f"[boxes] expected at least one (x, y, width, height); got {boxes!r}; "
                f"for one person filling the image pass [(0, 0, {width}, {height})]"
            )
        default = self._bundle.manifest.keypoints.default
        texts = resolve_keypoints(keypoints, texts=self._texts, default=default)
        crops = [SquareCrop.around(box, (width, height), scale=self._crop.scale) for box in boxes]
        prompt = self._prompt(texts)
        return [
            self._inquiry(image, box, crop, texts, prompt) for box, crop in zip(boxes, crops, strict=True)
        ]

    def ask(
        self, image: NDArray[np.uint8] | GpuFrame, command: str, *, camera: Camera | None
    ) -> list[Inquiry]:
        """Refused: these models answer for one keypoint at a time."""
        raise InvalidInputError(
            f"[ask] expected a bundle that takes commands, such as taihri's; got one of "
            f"{self._bundle.manifest.family}, which is asked for keypoints by name; call locate(image, "
            f"boxes=..., keypoints=...) instead of ask(image, {command!r})"
        )

    def _inquiry(
        self,
        image: NDArray[np.uint8] | GpuFrame,
        box: Sequence[float] | SquareCrop,
        crop: SquareCrop,
        texts: tuple[KeypointText, ...],
        prompt: Prompt,
    ) -> Inquiry:
        spec = self._crop

        def see() -> Mapping[str, NDArray[np.generic] | WarpedCrop]:
            if isinstance(image, GpuFrame):
                return {"pixels": WarpedCrop(image, crop, spec.size, spec.mean, spec.std)}
            return {"pixels": crop.pixels(image, spec.size, mean=spec.mean, std=spec.std)}

        def read(answers: Sequence[Answer]) -> Pose:
            steps = max(len(answer.tokens) for answer in answers)
            keypoints = tuple(
                self._keypoint(texts[place].name, answer, crop, steps, prompt, place)
                for place, answer in enumerate(answers)
            )
            passed = box.box if isinstance(box, SquareCrop) else box
            return Pose(box=tuple(map(float, passed)), keypoints=keypoints)

        def draft(pose: Pose, before: SquareCrop | None) -> Sequence[Sequence[int]]:
            said = {keypoint.name: keypoint for keypoint in pose}
            if before == crop:
                return [said[text.name].token_ids if text.name in said else () for text in texts]
            return [self._rewritten(said.get(text.name), crop) for text in texts]

        return Inquiry(see, prompt, self._codec.form, read, draft, crop=crop)

    def _rewritten(self, keypoint: Keypoint | None, crop: SquareCrop) -> Sequence[int]:
        """The answer that would say in this crop what another one's said; as near as the form can."""
        if keypoint is None or not keypoint.valid:
            return () if keypoint is None else keypoint.token_ids
        numbers = [*crop.to_crop(keypoint.xy)]
        if self._spec.depth_range_mm is not None:
            numbers.append(depth_number(keypoint.depth, self._spec.depth_range_mm))
        largest = [1 - 10.0**-places for places in self._codec.places]
        return self._codec.encode(np.clip(numbers, 0.0, largest).tolist())

    def _prompt(self, texts: tuple[KeypointText, ...]) -> Prompt:
        prompt = self._prompts.get(texts)
        if prompt is None:
            questions = [
                {"name": text.name, "description": text.description, "question": text.asked} for text in texts
            ]
            prompt = build_prompt(self._bundle.manifest.prompt, self._bundle.tokenizer, questions)
            if len(self._prompts) >= _PROMPTS_KEPT:
                self._prompts.clear()
            self._prompts[texts] = prompt
        return prompt

    def _keypoint(
        self, name: str, answer: Answer, crop: SquareCrop, steps: int, prompt: Prompt, place: int
    ) -> Keypoint:
        text = self._detokenize(answer.tokens)
        if self._spec.cleanup_spaces:
            text = clean_up_spaces(text)
        location: Location
        if self._exact:
            location = read_text(text.strip(), answer, self._codec, steps)
        else:
            location = read_form(answer, self._codec)
        range_mm = self._spec.depth_range_mm
        return Keypoint(
            name=name,
            xy=crop.to_image(location.xy),
            confidence=location.confidence,
            std=np.multiply(crop.side, location.std),
            expected_xy=crop.to_image(location.expected),
            valid=location.valid,
            depth=math.nan if range_mm is None else depth_mm(location.depth, range_mm),
            depth_std=math.nan if range_mm is None else range_mm * location.depth_std,
            dimensions=2 if range_mm is None else 3,
            prompt_ids=prompt.written(place, self._bundle.manifest.prompt.image_token),
            token_ids=tuple(answer.tokens),
            text=text,
        )
