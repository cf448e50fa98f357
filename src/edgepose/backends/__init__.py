# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a bundle's graphs, chosen by name.

What a backend does with the graphs does not belong here: one module per backend.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from edgepose._core import DecoderDims, DecoderLoop, DeviceArray
from edgepose.bundle import Bundle
from edgepose.errors import InvalidInputError
from edgepose.progress import Progress

if TYPE_CHECKING:
    from edgepose.gpu_frames import CutPatches, WarpedCrop

__all__ = ["Backend", "BackendName", "EncodedImage", "EncoderInputs", "decoder_dims", "open_backend"]

BackendName: TypeAlias = Literal["auto", "onnxruntime", "tensorrt", "tensorrt_rtx"]
"""`auto`: where engines are given, the library that they were built with; else ONNX Runtime on the CPU."""


EncoderInputs: TypeAlias = "Mapping[str, NDArray[np.generic] | WarpedCrop | CutPatches]"
"""Inputs of the vision encoder by name, or what is to be made of a frame on the GPU."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """What vision encoder and connector make of an image."""

    embeddings: NDArray[np.floating] | DeviceArray
    """(rows, hidden) in the activation type, C order; on the device of the backend's decoder, if it has one.
    Then it is valid until the next image is encoded."""
    deepstack: tuple[NDArray[np.floating] | DeviceArray, ...]
    """Further features of the same shape, for the first decoder layers."""

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, NDArray[np.floating]]) -> EncodedImage:
        """From the outputs of a connector for one image, by name: see `edgepose.bundle`."""
        rows = {name: array.reshape(-1, array.shape[-1]) for name, array in outputs.items()}
        levels = (f"deepstack.{level}" for level in range(len(rows) - 1))
        return cls(rows["image_embeddings"], tuple(rows[name] for name in levels))


class Backend(Protocol):
    """What runs the graphs of one bundle. For one thread at a time."""

    on_pass: Callable[[], None] | None
    """Called after each run of the vision encoder and of the decoder, for progress bars."""
    takes_gpu_frames: bool
    """Whether frames may lie in the memory of the backend's GPU."""

    @property
    def vision_seconds(self) -> float:
        """How long the last `encode` took, seconds on the clock of what ran it; known when the decoder has
        answered."""
        ...

    def encode(self, inputs: EncoderInputs) -> EncodedImage:
        """Run vision encoder and connector once.

        Args:
            inputs: of the vision encoder, by name; floats of any width. What is to be made of a frame on a
                GPU goes to backends that take such frames only.
        """
        ...

    def decoder(self, alphabets: list[list[int]], *, exact: bool) -> DecoderLoop:
        """The decoder loop over this backend's graphs.

        Args:
            alphabets: sets of tokens between which answers choose; forms refer to them.
            exact: load the head over the whole vocabulary instead of the one over the answer's tokens.
        """
        ...


def decoder_dims(bundle: Bundle) -> DecoderDims:
    """Sizes of a bundle's decoder, for the core."""
    spec = bundle.manifest.decoder
    return DecoderDims(
        hidden=spec.hidden,
        layers=spec.layers,
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        vocabulary=spec.vocabulary,
        rope_theta=spec.rope_theta,
        rope_sections=spec.rope_sections,
        deepstack=spec.deepstack,
    )


def open_backend(
    name: BackendName,
    bundle: Bundle,
    *,
    engines: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Backend:
    """Open a backend for a bundle.

    Args:
        name: which one.
        bundle: whose graphs to run.
        engines: directory written by `edgepose build`, for `tensorrt` and `tensorrt_rtx`.
        threads: CPU threads; None takes all cores. Of no effect on a GPU.
        progress: called before each graph is loaded.

    Raises:
        InvalidInputError: unknown backend name, engines with a backend that takes none or none with one that
            needs them, or `threads` below 1.
        EngineMismatchError: the engines were built for another machine or bundle, or are damaged.
        BackendUnavailableError: the backend's library, or its GPU, is not there.
        BackendError: the library refuses a graph or an engine.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise InvalidInputError(
            f"[backend] expected threads to be None or a count of at least 1; got {threads!r}"
        )
    if name not in get_args(BackendName):
        raise InvalidInputError(
            f"[backend] expected {', '.join(get_args(BackendName))}; got {name!r}; name one of these"
        )
    if engines is None and name in ("auto", "onnxruntime"):
        from edgepose.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(bundle, threads=threads, progress=progress)
    if engines is None:
        raise InvalidInputError(
            f"[backend] expected engines for {name}; got none; build them with edgepose build "
            f"{bundle.path} --recipe NAME --out DIR and pass engines=DIR"
        )
    if name == "onnxruntime":
        raise InvalidInputError(
            f"[backend] expected no engines for onnxruntime; got {os.fspath(engines)!r}; leave them out, or "
            'pass backend="auto"'
        )
    from edgepose.backends.tensorrt import TensorRtBackend

    return TensorRtBackend(bundle, engines, runtime=None if name == "auto" else name, progress=progress)
