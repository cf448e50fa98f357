# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU: sessions over a bundle's graphs, run on memory that the core owns.

Caches, batching and decoding do not belong here: they are the C++ core's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepose._core import DecoderDims, Graphs, HostDecoder, TensorView
from edgepose.bundle import CONNECTOR, VISION_ENCODER, Bundle
from edgepose.errors import BackendError, BackendUnavailableError

if TYPE_CHECKING:
    import onnxruntime

    from edgepose._core import DigitCodec

__all__ = ["OnnxRuntimeBackend", "session_options"]

_log = logging.getLogger("edgepose")


def _library() -> type[onnxruntime]:  # type: ignore[valid-type]
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            f"[onnxruntime] expected the package to be importable; got: {error}; "
            "install it: pip install onnxruntime"
        ) from error
    return onnxruntime


def session_options(threads: int | None) -> onnxruntime.SessionOptions:
    """Session options that edgepose runs with.

    INT4 weights are multiplied with activations rounded to INT8 blocks (MatMulNBits accuracy level 4);
    without that, ONNX Runtime unpacks the weights to float32 first, which is several times slower.

    Args:
        threads: threads inside one operator; None lets ONNX Runtime choose.
    """
    options = _library().SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    return options


class _Sessions:
    """A bundle's sessions, each loaded at first use: constrained decoding never loads the full head."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        self._bundle = bundle
        self._options = session_options(threads)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def __getitem__(self, graph: str) -> onnxruntime.InferenceSession:
        session = self._sessions.get(graph)
        if session is None:
            file = self._bundle.graph(graph)
            _log.debug("loading %s", file)
            try:
                session = _library().InferenceSession(
                    str(file), self._options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # the library has many exception types without a common base
                raise BackendError(
                    f"[onnxruntime] expected {file} to load; got: {error}; export the bundle again"
                ) from error
            self._sessions[graph] = session
        return session


def _bind_input(binding: onnxruntime.IOBinding, name: str, array: NDArray[np.generic]) -> None:
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _bind_output(binding: onnxruntime.IOBinding, name: str, array: NDArray[np.generic]) -> None:
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


class _BoundGraphs(Graphs):
    """The decoder and head graphs, bound once per shape to the core's buffers."""

    def __init__(self, sessions: _Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._bound: list[tuple[onnxruntime.InferenceSession, onnxruntime.IOBinding]] = []

    def bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int:
        session = self._sessions[graph]
        binding = session.io_binding()
        for view in inputs:
            _bind_input(binding, view.name, view.array)
        for view in outputs:
            _bind_output(binding, view.name, view.array)
        self._bound.append((session, binding))
        return len(self._bound) - 1

    def run(self, handle: int) -> None:
        session, binding = self._bound[handle]
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # the library has many exception types without a common base
            raise BackendError(f"[onnxruntime] expected the graph to run; got: {error}") from error

    def release(self) -> None:
        self._bound.clear()


class OnnxRuntimeBackend:
    """A bundle's graphs on the CPU. For one thread at a time."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self._bundle = bundle
        self._sessions = _Sessions(bundle, threads)
        manifest = bundle.manifest
        activations = np.dtype(manifest.precision.activations)
        size, vision, hidden = manifest.crop.size, manifest.vision, manifest.decoder.hidden
        self._pixels = np.zeros((1, 3, size, size), activations)
        self._features = np.zeros((1, vision.patches, vision.hidden), activations)
        self._image = np.zeros((1, vision.patches, hidden), activations)
        self._encoder = self._sessions[VISION_ENCODER].io_binding()
        _bind_input(self._encoder, "pixels", self._pixels)
        _bind_output(self._encoder, "features", self._features)
        self._connector = self._sessions[CONNECTOR].io_binding()
        _bind_input(self._connector, "features", self._features)
        _bind_output(self._connector, "image_embeddings", self._image)

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.floating]:
        """See `edgepose.backends.Backend`."""
        self._pixels[...] = pixels
        try:
            self._sessions[VISION_ENCODER].run_with_iobinding(self._encoder)
            self._sessions[CONNECTOR].run_with_iobinding(self._connector)
        except Exception as error:  # the library has many exception types without a common base
            raise BackendError(f"[onnxruntime] expected the vision graphs to run; got: {error}") from error
        return self._image[0]

    def decoder(self, codec: DigitCodec) -> HostDecoder:
        """See `edgepose.backends.Backend`."""
        spec = self._bundle.manifest.decoder
        dims = DecoderDims(
            hidden=spec.hidden,
            layers=spec.layers,
            heads=spec.heads,
            kv_heads=spec.kv_heads,
            head_dim=spec.head_dim,
            vocabulary=spec.vocabulary,
            rope_theta=spec.rope_theta,
        )
        answer_head = list(self._bundle.manifest.answer_head)
        return HostDecoder(_BoundGraphs(self._sessions), dims, self._bundle.embeddings, answer_head, codec)
