# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a bundle's graphs, chosen by name.

What a backend does with the graphs does not belong here: one module per backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose._core import HostDecoder
from edgepose.bundle import Bundle, Progress
from edgepose.errors import InvalidInputError

__all__ = ["Backend", "BackendName", "EncodedImage", "open_backend"]

BackendName: TypeAlias = Literal["auto", "onnxruntime"]
"""`auto` takes the best backend this machine has; so far that is always ONNX Runtime on the CPU."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """What vision encoder and connector make of an image."""

    embeddings: NDArray[np.floating]
    """(rows, hidden) in the activation type, C order."""
    deepstack: tuple[NDArray[np.floating], ...]
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

    def encode(self, inputs: Mapping[str, NDArray[np.generic]]) -> EncodedImage:
        """Run vision encoder and connector once.

        Args:
            inputs: of the vision encoder, by name; floats of any width.
        """
        ...

    def decoder(self, alphabets: list[list[int]], *, exact: bool) -> HostDecoder:
        """The decoder loop over this backend's graphs.

        Args:
            alphabets: sets of tokens between which answers choose; forms refer to them.
            exact: load the head over the whole vocabulary instead of the one over the answer's tokens.
        """
        ...


def open_backend(
    name: BackendName, bundle: Bundle, *, threads: int | None = None, progress: Progress | None = None
) -> Backend:
    """Open a backend for a bundle.

    Args:
        name: which one.
        bundle: whose graphs to run.
        threads: CPU threads; None takes all cores.
        progress: called before each graph is loaded.

    Raises:
        InvalidInputError: unknown backend name, or `threads` below 1.
        BackendUnavailableError: the backend's library is not installed.
        BackendError: the library refuses a graph.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise InvalidInputError(
            f"[backend] expected threads to be None or a count of at least 1; got {threads!r}"
        )
    if name in ("auto", "onnxruntime"):
        from edgepose.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(bundle, threads=threads, progress=progress)
    raise InvalidInputError(f"[backend] expected auto or onnxruntime; got {name!r}; name one of these")
