# SPDX-License-Identifier: Apache-2.0
"""The way in: open a bundle, locate keypoints of people in an image.

What is asked and how answers are read belongs to `edgepose.questions`, how graphs are run to
`edgepose.backends`.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgepose.backends import BackendName, open_backend
from edgepose.builtin import DEFAULT_MODEL
from edgepose.bundle import Bundle
from edgepose.engine import ENGINE_MANIFEST
from edgepose.errors import InvalidInputError
from edgepose.file_hash import hash_file
from edgepose.gpu_frames import GpuFrame, gpu_frame
from edgepose.images import ImageSource, load_image
from edgepose.keypoint_argument import KeypointsArgument
from edgepose.progress import Progress
from edgepose.questions import Inquiry, open_questions
from edgepose.results import Drafts, Localization, Passes
from edgepose.tracking import BoxesArgument, Guesses, Track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgepose.camera import Camera
    from edgepose.crop import SquareCrop

__all__ = ["DecodeMode", "Localizer"]

DecodeMode: TypeAlias = Literal["constrained", "exact"]
"""`constrained`: answers always parse. `exact`: tokens and confidences of the published greedy decoding."""

Box: TypeAlias = "Sequence[float] | SquareCrop"


class Localizer:
    """Locates keypoints of people by asking a language-guided pose model.

    For one thread at a time. The first call at a new number of keypoints allocates; later ones do not.

    Args:
        bundle: directory written by `edgepose export`, or the name of a model that ships with the package.
        backend: what runs the graphs. `auto` is TensorRT where engines are given, else the CPU.
        engines: directory written by `edgepose build` for this bundle and this machine; runs on the GPU.
        threads: CPU threads; None takes all cores.
        decode: `constrained` restricts every token to what the answer's form allows, which is fastest and
            always yields coordinates; `exact` reproduces tokens and confidences of the published decoding,
            whatever the model says.
        max_tokens: longest answer in exact decoding; None for what the published code allows.
        penalise_numbers: apply the published repetition penalty to coordinates in constrained decoding too,
            where it can move one by a bin; exact decoding always applies it. Of no effect for bundles without
            such a penalty.
        progress: called while graphs are loaded, which takes half a minute for a 7 B model.

    Raises:
        BundleError: the bundle is missing, damaged or too new.
        InvalidInputError: an argument is not one of those named here.
        BackendUnavailableError: the backend's library is not installed, or its GPU is not there.
        EngineMismatchError: the engines are damaged, or were built for another machine or bundle.

    Example:
        >>> from edgepose import Localizer
        >>> localizer = Localizer()                                                 # doctest: +SKIP
        >>> poses = localizer.locate("street.jpg", boxes=[(100, 50, 80, 200)])      # doctest: +SKIP
        >>> poses[0]["left wrist"].xy                                               # doctest: +SKIP
        >>> robot = Localizer("taihri/")                                            # doctest: +SKIP
        >>> robot.ask(frame, "Please shake my hand", camera=camera)[0].xyz          # doctest: +SKIP
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        backend: BackendName = "auto",
        engines: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        decode: DecodeMode = "constrained",
        max_tokens: int | None = None,
        penalise_numbers: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if decode not in ("constrained", "exact"):
            raise InvalidInputError(f"[localizer] expected decode to be constrained or exact; got {decode!r}")
        if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 1):
            raise InvalidInputError(
                f"[localizer] expected max_tokens to be None or a count of at least 1; got {max_tokens!r}"
            )
        self._bundle = Bundle.open(bundle)
        codec = self._bundle.manifest.codec
        self._max_tokens = codec.max_tokens if max_tokens is None else min(max_tokens, codec.max_tokens)
        self._exact = decode == "exact"
        self._penalise_numbers = penalise_numbers
        self._questions = open_questions(self._bundle, exact=self._exact)
        self._backend = open_backend(
            backend, self._bundle, engines=engines, threads=threads, progress=progress
        )
        self._decoder = self._backend.decoder(self._questions.alphabets, exact=self._exact)
        self._engines = None if engines is None else hash_file(Path(engines) / ENGINE_MANIFEST)

    @property
    def bundle(self) -> Bundle:
        """The open bundle."""
        return self._bundle

    @property
    def engines(self) -> str | None:
        """SHA-256 of the sidecar of the engines that run, which has the hashes of all; None on the CPU."""
        return self._engines

    def locate(
        self,
        image: ImageSource,
        *,
        boxes: Sequence[Box] | None = None,
        keypoints: KeypointsArgument = None,
        camera: Camera | None = None,
        progress: Progress | None = None,
    ) -> Localization:
        """Locate keypoints of each person, by name.

        Args:
            image: path, (H, W, 3) uint8 RGB array, or Pillow image. EXIF rotation is ignored, as published.
                With engines also an array on the GPU (`__cuda_array_interface__`, DLPack: PyCUDA, CuPy,
                torch), which is not copied and has to stay as it is until the answer is there; a lens's
                distortion is taken out there too.
            boxes: for bundles that look at one person's crop (LocLLM, PoseLLM): one `(x, y, width, height)`
                per person, pixels of the image, origin at the top-left pixel's centre (OpenCV), clipped to
                the image as published. Bundles that look at the whole frame (TAIHRI) take none.
            keypoints: None for the bundle's default set, a set's name or `KeypointSet`, names; for bundles
                that are told what a keypoint is, also `KeypointText`s or a mapping name -> description.
            camera: the camera that took the image, for bundles that answer in metres; others take none.
            progress: called after each pass; in exact mode the number of passes is a guess until the end.

        Returns:
            A list of one `Pose` per person, in order, with `.passes` and `.timings_ms` of the whole call.

        Raises:
            InvalidInputError: image, camera, a box or a keypoint is unusable; the message has the value.
            DecodeError: a prompt is longer than the model's context.
        """
        pixels = self._load(image)
        inquiries = self._questions.locate(pixels, boxes=boxes, keypoints=keypoints, camera=camera)
        return self._answer(inquiries, "locate", progress)

    def ask(
        self,
        image: ImageSource,
        command: str,
        *,
        camera: Camera | None = None,
        progress: Progress | None = None,
    ) -> Localization:
        """Locate the keypoints that a command is about; the model chooses which.

        Args:
            image: as for `locate`.
            command: what to do, in words, for example `Please shake my hand`. Special tokens spelled out in
                it are text.
            camera: the camera that took the image.
            progress: called after each pass; how many there will be is a guess until the end.

        Returns:
            A list of one `Pose` with the joints that the model chose, in its order, possibly none; with
            `.passes` and `.timings_ms`.

        Raises:
            InvalidInputError: image, command or camera is unusable, or the bundle takes no commands.
            DecodeError: the prompt is longer than the model's context.
        """
        pixels = self._load(image)
        return self._answer(self._questions.ask(pixels, command, camera=camera), "ask", progress)

    def track(
        self,
        frames: Iterable[ImageSource],
        *,
        boxes: BoxesArgument = None,
        keypoints: KeypointsArgument = None,
        camera: Camera | None = None,
        command: str | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Localization]:
        """Locate frame by frame, faster where little moves: each answer is a draft of the next frame's.

        The tokens of the last answer go into the model together with the question and are kept up to the
        first that the model says otherwise; it decodes again from there only. The tokens are those of
        `locate` (or `ask`) with the same boxes, in both ways of decoding; confidences and standard deviations
        are equal up to rounding. Like anything that changes how much is computed at once, drafts can swap two
        tokens whose logits are equal up to rounding.

        Args:
            frames: images, as `locate` takes them; for files and cameras see `edgepose.video`.
            boxes: people's boxes, for bundles that look at one person's crop:
                a list of boxes for the first frame, carried on by the rule of `edgepose.tracking.carry`;
                an iterable with a list for each frame; or `boxes(number, pixels, last)`, called for each
                frame with its number from 0, its pixels and the last Localization. A frame's list may be None
                to carry the boxes on, and empty when nobody is there. People may come and go: answers
                are drafts for who now stands where they stood.
            keypoints: as for `locate`.
            camera: as for `locate`; one for all frames.
            command: ask this instead, as `ask` does; the keypoints are then the model's choice.
            progress: called after each frame; the total is 0 where `frames` does not know it.

        Yields:
            One Localization per frame, as soon as it is known. `.drafts` says how many tokens were accepted,
            `.passes` what was left to do.

        Raises:
            InvalidInputError: as `locate` and `ask`; also both keypoints and a command are given.

        Example:
            >>> frames = FrameReader("walk.mp4")                                        # doctest: +SKIP
            >>> for poses in localizer.track(frames, boxes=[(100, 50, 80, 200)]):       # doctest: +SKIP
            ...     print(poses[0]["left wrist"].xy)
        """
        if command is not None and (keypoints is not None or boxes is not None):
            raise InvalidInputError(
                f"[track] expected a command or keypoints and boxes; got {command!r} beside "
                f"{keypoints if boxes is None else boxes!r}; leave one out"
            )

        def inquire(pixels: NDArray[np.uint8] | GpuFrame, found: Sequence[Box] | None) -> list[Inquiry]:
            if command is not None:
                return self._questions.ask(pixels, command, camera=camera)
            return self._questions.locate(pixels, boxes=found, keypoints=keypoints, camera=camera)

        return self._track(frames, Track(boxes), inquire, progress)

    def _track(
        self,
        frames: Iterable[ImageSource],
        track: Track,
        inquire: Callable[[NDArray[np.uint8] | GpuFrame, Sequence[Box] | None], list[Inquiry]],
        progress: Progress | None,
    ) -> Iterator[Localization]:
        total = operator.length_hint(frames)
        for number, frame in enumerate(frames):
            pixels = self._load(frame)
            # Whoever finds boxes gets the frame as it was passed, where it lies on a GPU.
            seen: Any = frame if isinstance(pixels, GpuFrame) else pixels
            found = track.find(number, seen)
            nobody = found is not None and not len(found)
            inquiries = [] if nobody else inquire(pixels, found)
            located = self._answer(inquiries, "track", None, track.guess(inquiries))
            track.remember(inquiries, located)
            if progress is not None:
                progress("track", number + 1, max(total, number + 1) if total else 0)
            yield located

    def _load(self, image: ImageSource) -> NDArray[np.uint8] | GpuFrame:
        frame = gpu_frame(image)
        if frame is None:
            return load_image(image)
        if not self._backend.takes_gpu_frames:
            raise InvalidInputError(
                "[image] expected an image in host memory, where this backend works; got one on a GPU of "
                f"shape {frame.shape}; open the localizer with engines=DIR, or copy the image: .get() or "
                ".cpu().numpy()"
            )
        return frame

    def _answer(
        self,
        inquiries: list[Inquiry],
        stage: str,
        progress: Progress | None,
        guesses: Sequence[Guesses] = (),
    ) -> Localization:
        located = Localization()
        if progress is not None:
            self._backend.on_pass = self._count_passes(inquiries, stage, progress)
        try:
            for inquiry, guess in zip(inquiries, guesses or [Guesses()] * len(inquiries), strict=True):
                self._answer_one(inquiry, located, guess)
        finally:
            self._backend.on_pass = None
        return located

    def _count_passes(self, inquiries: list[Inquiry], stage: str, progress: Progress) -> Callable[[], None]:
        # Vision and prefix; then one pass a free token for each group, the first being the suffix pass.
        def guess(inquiry: Inquiry) -> int:
            groups = self._decoder.groups(len(inquiry.prompt.suffixes))
            return 2 + groups * (inquiry.form.looks + (1 if self._exact else 0))

        total = sum(guess(inquiry) for inquiry in inquiries)
        done = 0

        def passed() -> None:
            nonlocal done
            done += 1
            progress(stage, min(done, total), total)

        return passed

    def _answer_one(self, inquiry: Inquiry, located: Localization, guesses: Guesses) -> None:
        manifest = self._bundle.manifest
        start = time.perf_counter()
        seen = inquiry.see()
        preprocessed = time.perf_counter()
        image = self._backend.encode(seen)
        image_token = manifest.prompt.image_token
        decoding = self._decoder.decode(
            form=inquiry.form,
            prefix=inquiry.prompt.prefix,
            image=image.embeddings,
            image_grid=inquiry.image_grid,
            deepstack=image.deepstack,
            questions=inquiry.prompt.suffixes,
            drafts=guesses.answers,
            offers=guesses.offers,
            exact=self._exact,
            max_tokens=self._max_tokens,
            end=manifest.codec.end,
            max_positions=manifest.decoder.max_positions,
            repetition_penalty=manifest.codec.repetition_penalty,
            penalise_numbers=self._penalise_numbers,
            image_token=-1 if image_token is None else image_token,
        )
        located.append(inquiry.read(decoding.answers))
        passes, seconds, vision = decoding.passes, decoding.seconds, self._backend.vision_seconds
        located.passes += Passes(1, passes.prefix, passes.suffix, passes.decode)
        located.drafts += Drafts(decoding.drafts.offered, decoding.drafts.accepted, decoding.drafts.free)
        for name, value in (
            ("preprocess", preprocessed - start),
            ("vision", vision),
            ("prefix", seconds.prefix),
            ("suffix", seconds.suffix),
            ("decode", seconds.decode),
            ("graphs", vision + seconds.graphs),
            ("total", time.perf_counter() - start),
        ):
            located.timings_ms[name] = located.timings_ms.get(name, 0.0) + 1000 * value

    def __repr__(self) -> str:
        return f"Localizer({str(self._bundle.path)!r}, decode={'exact' if self._exact else 'constrained'!r})"
