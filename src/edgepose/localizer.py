# SPDX-License-Identifier: Apache-2.0
"""The way in: open a bundle, locate keypoints of people in an image.

How graphs are run, boxes cropped or answers read does not belong here.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edgepose._core import Answer, DigitCodec
from edgepose.answers import Location, depth_mm, read_form, read_text
from edgepose.backends import BackendName, open_backend
from edgepose.bundle import Bundle, Progress
from edgepose.crop import SquareCrop
from edgepose.detokenize import Detokenizer, clean_up_spaces
from edgepose.errors import InvalidInputError
from edgepose.images import ImageSource, load_image
from edgepose.keypoints import KeypointsArgument, KeypointText, resolve_keypoints
from edgepose.prompts import Prompt, build_prompt
from edgepose.results import Keypoint, Localization, Passes, Pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DecodeMode", "Localizer"]

DecodeMode: TypeAlias = Literal["constrained", "exact"]
"""`constrained`: answers always parse. `exact`: tokens and confidences of the published greedy decoding."""

Box: TypeAlias = Sequence[float]


class Localizer:
    """Locates keypoints of people by asking a language-guided pose model.

    For one thread at a time. The first call at a new number of keypoints allocates; later ones do not.

    Args:
        bundle: directory written by `edgepose export`.
        backend: what runs the graphs.
        threads: CPU threads; None takes all cores.
        decode: `constrained` restricts every token to what the answer's form allows, which is fastest and
            always yields coordinates; `exact` reproduces tokens and confidences of the published decoding,
            whatever the model says.
        progress: called while graphs are loaded, which takes half a minute for a 7 B model.

    Raises:
        BundleError: the bundle is missing, damaged or too new.
        InvalidInputError: an argument is not one of those named here.
        BackendUnavailableError: the backend's library is not installed.

    Example:
        >>> from edgepose import Localizer
        >>> localizer = Localizer("bundle/")                                        # doctest: +SKIP
        >>> poses = localizer.locate("street.jpg", boxes=[(100, 50, 80, 200)])      # doctest: +SKIP
        >>> poses[0]["left wrist"].xy                                               # doctest: +SKIP
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        backend: BackendName = "auto",
        threads: int | None = None,
        decode: DecodeMode = "constrained",
        progress: Progress | None = None,
    ) -> None:
        if decode not in ("constrained", "exact"):
            raise InvalidInputError(f"[localizer] expected decode to be constrained or exact; got {decode!r}")
        self._bundle = Bundle.open(bundle)
        codec = self._bundle.manifest.codec
        self._codec = DigitCodec(
            places=list(codec.places),
            open=codec.open,
            zero=codec.zero,
            point=codec.point,
            comma=codec.comma,
            close=codec.close,
            digits=list(codec.digits),
        )
        self._exact = decode == "exact"
        self._backend = open_backend(backend, self._bundle, threads=threads, progress=progress)
        self._decoder = self._backend.decoder(self._codec, exact=self._exact)
        self._texts = self._bundle.manifest.keypoints.named()
        self._detokenize = Detokenizer(self._bundle.tokenizer)
        self._prompts: dict[tuple[KeypointText, ...], Prompt] = {}

    @property
    def bundle(self) -> Bundle:
        """The open bundle."""
        return self._bundle

    def locate(
        self,
        image: ImageSource,
        *,
        boxes: Sequence[Box],
        keypoints: KeypointsArgument = None,
        progress: Progress | None = None,
    ) -> Localization:
        """Locate keypoints of each person.

        Args:
            image: path, (H, W, 3) uint8 RGB array, or Pillow image. EXIF rotation is ignored, as published.
            boxes: one `(x, y, width, height)` per person, pixels of the image, origin at the top-left pixel's
                centre (OpenCV), clipped to the image as published.
            keypoints: None for the bundle's default set, a set's name or `KeypointSet`, names, or
                `KeypointText`s or a mapping name -> description for keypoints that the bundle does not know.
            progress: called after each pass; in exact mode the number of passes is a guess until the end.

        Returns:
            A list of one `Pose` per box, in order, with `.passes` and `.timings_ms` of the whole call.

        Raises:
            InvalidInputError: image, a box or a keypoint is unusable; the message has the value.
            DecodeError: a prompt is longer than the model's context.
        """
        pixels = load_image(image)
        height, width = pixels.shape[:2]
        spec = self._bundle.manifest.crop
        if not len(boxes):
            raise InvalidInputError(
                f"[boxes] expected at least one (x, y, width, height); got {boxes!r}; "
                f"for one person filling the image pass [(0, 0, {width}, {height})]"
            )
        crops = [SquareCrop.from_box(box, (width, height), scale=spec.scale) for box in boxes]
        texts = resolve_keypoints(
            keypoints, texts=self._texts, default=self._bundle.manifest.keypoints.default
        )
        prompt = self._prompt(texts)
        located = Localization()
        if progress is not None:
            self._backend.on_pass = self._count_passes(progress, len(crops))
        try:
            for box, crop in zip(boxes, crops, strict=True):
                self._locate_one(pixels, box, crop, texts, prompt, located)
        finally:
            self._backend.on_pass = None
        return located

    def _count_passes(self, progress: Progress, people: int) -> Callable[[], None]:
        free = sum(self._codec.places)
        # Vision, prefix and suffix; then one pass a free token, the first being the suffix pass's.
        total = people * (2 + free + (1 if self._exact else 0))
        done = 0

        def passed() -> None:
            nonlocal done
            done += 1
            progress("locate", min(done, total), total)

        return passed

    def _prompt(self, texts: tuple[KeypointText, ...]) -> Prompt:
        prompt = self._prompts.get(texts)
        if prompt is None:
            prompt = build_prompt(self._bundle.manifest.prompt, self._bundle.tokenizer, texts)
            if len(self._prompts) >= 64:
                self._prompts.clear()
            self._prompts[texts] = prompt
        return prompt

    def _locate_one(
        self,
        image: NDArray[np.uint8],
        box: Box,
        crop: SquareCrop,
        texts: tuple[KeypointText, ...],
        prompt: Prompt,
        located: Localization,
    ) -> None:
        manifest = self._bundle.manifest
        spec = manifest.crop
        start = time.perf_counter()
        pixels = crop.pixels(image, spec.size, mean=spec.mean, std=spec.std)
        cropped = time.perf_counter()
        embeddings = self._backend.encode(pixels)
        encoded = time.perf_counter()
        decoding = self._decoder.decode(
            prefix=prompt.prefix,
            image=embeddings,
            questions=prompt.suffixes,
            exact=self._exact,
            max_tokens=manifest.codec.answer_tokens,
            end=manifest.codec.end,
            max_positions=manifest.decoder.max_positions,
        )
        steps = max(len(answer.tokens) for answer in decoding.answers)
        located.append(
            Pose(
                box=tuple(map(float, box)),
                keypoints=tuple(
                    self._keypoint(text.name, answer, crop, steps)
                    for text, answer in zip(texts, decoding.answers, strict=True)
                ),
            )
        )
        passes, seconds = decoding.passes, decoding.seconds
        located.passes += Passes(1, passes.prefix, passes.suffix, passes.decode)
        for stage, value in (
            ("preprocess", cropped - start),
            ("vision", encoded - cropped),
            ("prefix", seconds.prefix),
            ("suffix", seconds.suffix),
            ("decode", seconds.decode),
            ("graphs", encoded - cropped + seconds.graphs),
            ("total", time.perf_counter() - start),
        ):
            located.timings_ms[stage] = located.timings_ms.get(stage, 0.0) + 1000 * value

    def _keypoint(self, name: str, answer: Answer, crop: SquareCrop, steps: int) -> Keypoint:
        text = self._text(answer)
        location: Location
        if self._exact:
            location = read_text(text.strip(), answer, self._codec, steps)
        else:
            location = read_form(answer, self._codec)
        range_mm = self._bundle.manifest.codec.depth_range_mm
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
            token_ids=tuple(answer.tokens),
            text=text,
        )

    def _text(self, answer: Answer) -> str:
        text = self._detokenize(answer.tokens)
        return clean_up_spaces(text) if self._bundle.manifest.codec.cleanup_spaces else text

    def __repr__(self) -> str:
        return f"Localizer({str(self._bundle.path)!r}, decode={'exact' if self._exact else 'constrained'!r})"
