# SPDX-License-Identifier: Apache-2.0
"""Goldens in ONNX Runtime on the CPU, with the arithmetic of the export.

The faster arithmetic that `Localizer` chooses does not belong here: see `edgepose.backends.onnxruntime`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgepose.bundle import Bundle
from edgepose.errors import BackendError, BackendUnavailableError
from edgepose.verify.goldens import Arrays, unusable
from edgepose.verify.runtime import Answers, OpenGraph

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["SessionRuntime"]


class SessionRuntime:
    """ONNX Runtime over the graphs of a bundle.

    Raises:
        BackendUnavailableError: it is not installed.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendUnavailableError(
                f"[verify] expected onnxruntime to be importable; got: {error}; "
                "install it: pip install onnxruntime"
            ) from error
        self.version = str(onnxruntime.__version__)
        self._bundle = bundle

    @contextmanager
    def open(self, graph: str) -> Iterator[OpenGraph]:
        """See `edgepose.verify.runtime.Runtime`."""
        yield _Session(self._bundle, graph, self.version)


class _Session:
    profiles = (None,)

    def __init__(self, bundle: Bundle, graph: str, version: str) -> None:
        self._bundle, self._graph = bundle, graph
        try:
            self._session = _open_session(bundle, graph)
        except Exception as error:  # the library has many exception types without a common base
            raise BackendError(
                f"[verify {bundle.path}] expected ONNX Runtime {version} to load {graph}, whose file is as "
                f"it was exported; got: {str(error).strip()}; upgrade it: pip install --upgrade onnxruntime"
            ) from error

    def run(self, inputs: Arrays, profile: str | None) -> Answers:
        names = [value.name for value in self._session.get_outputs()]
        try:
            return Answers((dict(zip(names, self._session.run(names, dict(inputs)), strict=True)),))
        except Exception as error:  # as above
            raise unusable(
                self._bundle, f"{self._graph} did not run on its own: {type(error).__name__}: {error}"
            ) from error


def _open_session(bundle: Bundle, graph: str) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if platform.machine().lower() in ("x86_64", "amd64"):
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(bundle.graph(graph)), options, providers=["CPUExecutionProvider"])
