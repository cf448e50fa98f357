# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a bundle's graphs, chosen by name.

What a backend does with the graphs does not belong here: one module per backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose._core import HostDecoder
from edgepose.bundle import Bundle, Progress
from edgepose.errors import InvalidInputError

if TYPE_CHECKING:
    from edgepose._core import DigitCodec

__all__ = ["Backend", "BackendName", "open_backend"]

BackendName: TypeAlias = Literal["auto", "onnxruntime"]
"""`auto` takes the best backend this machine has; so far that is always ONNX Runtime on the CPU."""


class Backend(Protocol):
    """What runs the graphs of one bundle. For one thread at a time."""

    on_pass: Callable[[], None] | None
    """Called after each run of the vision encoder and of the decoder, for progress bars."""

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.floating]:
        """Run vision encoder and connector once.

        Args:
            pixels: (1, 3, size, size) float32, normalised, RGB.

        Returns:
            (patches, hidden) in the activation type; valid until the next call.
        """
        ...

    def decoder(self, codec: DigitCodec, *, exact: bool) -> HostDecoder:
        """The decoder loop over this backend's graphs, for answers of the codec's form.

        Args:
            codec: the form of the answers.
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
