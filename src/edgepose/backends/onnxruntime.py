# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU: sessions over a bundle's graphs, run on memory that the core owns.

Caches, batching and decoding do not belong here: they are the C++ core's.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Graphs, HostDecoder, TensorView
from edgepose.backends import EncodedImage, EncoderInputs, decoder_dims
from edgepose.bundle import ANSWER_HEAD, CONNECTOR, LLM_DECODER, LM_HEAD, VISION_ENCODER, Bundle
from edgepose.errors import BackendError, BackendUnavailableError
from edgepose.progress import Progress

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxRuntimeBackend", "session_options"]

_log = logging.getLogger("edgepose")

_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
}
_LOADED = 4  # graphs of a backend: encoder, connector, decoder and one of the heads


def _library() -> Any:
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

    INT8 weights are multiplied with INT8 activations. x86 CPUs without VNNI instructions would add such
    products up in 16 bits, which saturates; for them a kernel is chosen that does not.

    Threads stop spinning when a graph is done: each graph has its own, and those of the last one would keep
    the cores from the next.

    Args:
        threads: threads inside one operator; None lets ONNX Runtime choose.
    """
    options: onnxruntime.SessionOptions = _library().SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if _int8_products_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _int8_products_saturate() -> bool:
    """Whether this may be an x86 CPU whose products of INT8 numbers are summed in 16 bits."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True


class _Sessions:
    """A bundle's sessions, those that were loaded: constrained decoding never needs the full head."""

    def __init__(self, bundle: Bundle, threads: int | None, progress: Progress | None) -> None:
        self._bundle = bundle
        self._options = session_options(threads)
        self._progress = progress
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def load(self, graph: str) -> None:
        file = self._bundle.graph(graph)
        _log.debug("loading %s", file)
        if self._progress is not None:
            self._progress(f"load {graph}", len(self._sessions), _LOADED)
        try:
            self._sessions[graph] = _library().InferenceSession(
                str(file), self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library has many exception types without a common base
            raise BackendError(
                f"[onnxruntime] expected {file} to load; got: {error}; export the bundle again"
            ) from error

    def run(self, graph: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.floating]]:
        """Outputs of a graph by name; float inputs of any width."""
        session = self._sessions[graph]
        given = {
            value.name: inputs[value.name].astype(_TYPES[value.type], copy=False)
            for value in session.get_inputs()
        }
        names = [value.name for value in session.get_outputs()]
        try:
            return dict(zip(names, session.run(names, given), strict=True))
        except Exception as error:  # the library has many exception types without a common base
            raise BackendError(f"[onnxruntime] expected {graph} to run; got: {error}") from error

    def __getitem__(self, graph: str) -> onnxruntime.InferenceSession:
        return self._sessions[graph]


def _bind_input(binding: onnxruntime.IOBinding, name: str, array: NDArray[np.generic]) -> None:
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _bind_output(binding: onnxruntime.IOBinding, name: str, array: NDArray[np.generic]) -> None:
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


class _BoundGraphs(Graphs):
    """The decoder and head graphs, bound once per shape to the core's buffers."""

    def __init__(self, sessions: _Sessions, on_run: Callable[[str], None]) -> None:
        super().__init__()
        self._sessions = sessions
        self._on_run = on_run
        self._bound: list[tuple[str, onnxruntime.InferenceSession, onnxruntime.IOBinding]] = []

    def bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int:
        session = self._sessions[graph]
        binding = session.io_binding()
        for view in inputs:
            _bind_input(binding, view.name, view.array)
        for view in outputs:
            _bind_output(binding, view.name, view.array)
        self._bound.append((graph, session, binding))
        return len(self._bound) - 1

    def run(self, handle: int) -> None:
        graph, session, binding = self._bound[handle]
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # the library has many exception types without a common base
            raise BackendError(f"[onnxruntime] expected {graph} to run; got: {error}") from error
        self._on_run(graph)

    def release(self) -> None:
        self._bound.clear()


class OnnxRuntimeBackend:
    """A bundle's graphs on the CPU. For one thread at a time."""

    takes_gpu_frames = False

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, progress: Progress | None = None
    ) -> None:
        self.on_pass: Callable[[], None] | None = None
        self.vision_seconds = 0.0
        self._bundle = bundle
        self._sessions = _Sessions(bundle, threads, progress)
        for graph in (VISION_ENCODER, CONNECTOR):
            self._sessions.load(graph)

    def encode(self, inputs: EncoderInputs) -> EncodedImage:
        """See `edgepose.backends.Backend`."""
        start = time.perf_counter()
        arrays = {name: array for name, array in inputs.items() if isinstance(array, np.ndarray)}
        features = self._sessions.run(VISION_ENCODER, arrays)
        self._passed(VISION_ENCODER)
        image = EncodedImage.from_outputs(self._sessions.run(CONNECTOR, features))
        self.vision_seconds = time.perf_counter() - start
        return image

    def decoder(self, alphabets: list[list[int]], *, exact: bool) -> HostDecoder:
        """See `edgepose.backends.Backend`."""
        for graph in (LLM_DECODER, LM_HEAD if exact else ANSWER_HEAD):
            self._sessions.load(graph)
        dims = decoder_dims(self._bundle)
        answer_head = list(self._bundle.manifest.answer_head)
        graphs = _BoundGraphs(self._sessions, self._passed)
        return HostDecoder(graphs, dims, self._bundle.embeddings, answer_head, alphabets)

    def _passed(self, graph: str) -> None:
        if self.on_pass is not None and graph in (VISION_ENCODER, LLM_DECODER):
            self.on_pass()
