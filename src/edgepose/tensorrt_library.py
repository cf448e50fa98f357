# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's two libraries under one name each, loaded when asked for, with one logger for the whole process.

Building and running engines do not belong here. `tensorrt` and `tensorrt_rtx` have the same interface; the
first logger that either meets is the one it keeps, so there is one here, and whoever works with it says where
its lines go.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edgepose.errors import BackendUnavailableError

__all__ = ["Library", "RuntimeName", "load_library"]

RuntimeName: TypeAlias = Literal["tensorrt", "tensorrt_rtx"]

_LOG = logging.getLogger("edgepose.tensorrt")
_ADVICE = {
    "tensorrt": "on Jetson use JetPack's own (apt install python3-libnvinfer, and a virtual environment made "
    "with --system-site-packages), elsewhere pip install 'edgepose[tensorrt]'",
    "tensorrt_rtx": "pip install 'edgepose[tensorrt-rtx]' (Linux and Windows on x86_64)",
}


@dataclass(frozen=True, slots=True)
class Library:
    """One of the two libraries."""

    name: RuntimeName
    module: Any
    """`tensorrt` or `tensorrt_rtx`."""
    logger: Any
    """An `ILogger` of the module: pass it wherever one is wanted."""
    _listeners: list[Callable[[int, str], None]]

    @property
    def version(self) -> str:
        """`10.3.0`, `1.7.1.116`."""
        version: str = self.module.__version__
        return version

    @contextlib.contextmanager
    def listening(self, listener: Callable[[int, str], None]) -> Iterator[None]:
        """Calls `listener(severity, line)` for each line logged meanwhile; 0 is worst, 4 verbose."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' deprecation warnings from being shown: one interface spans several versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@functools.cache
def load_library(name: RuntimeName) -> Library:
    """Load `tensorrt` or `tensorrt_rtx`.

    Raises:
        BackendUnavailableError: it is not installed, or cannot be loaded; the message says what to install.
    """
    try:
        with quiet():
            module = importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendUnavailableError(
            f"[{name}] expected NVIDIA's Python package {name}; got: {error}; {_ADVICE[name]}"
        ) from error
    listeners: list[Callable[[int, str], None]] = []

    class Logger(module.ILogger):  # type: ignore[misc, name-defined]
        """Hands every line to Python's logging and to whoever listens."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, line: str) -> None:
            level = int(severity)
            # What matters is raised by whoever works with the library; this is for reading along.
            _LOG.log(logging.INFO if level <= 2 else logging.DEBUG, "%s", line)
            for listener in listeners:
                listener(level, line)

    return Library(name, module, Logger(), listeners)
