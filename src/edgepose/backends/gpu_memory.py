# SPDX-License-Identifier: Apache-2.0
"""GPU memory, pinned host memory and captures on one stream, by way of cuda-python.

Kernels do not belong here (see cpp/cuda), nor does what engines are given.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import BackendError, BackendUnavailableError

__all__ = ["CudaMemory", "GpuMemory", "load_cuda"]

_MAPPED = 2  # cudaHostAllocMapped
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_THREAD_LOCAL = 1  # of capture modes: what other threads do meanwhile does no harm


class GpuMemory(Protocol):
    """What a backend asks of a GPU beside its decoder. For one thread at a time."""

    @property
    def stream(self) -> int:
        """Handle of the stream in whose order everything happens."""
        ...

    @property
    def integrated(self) -> bool:
        """Whether the GPU shares the host's memory and sees pinned memory without a copy."""
        ...

    def allocate(self, size: int) -> int:
        """Address of `size` bytes of GPU memory, aligned to 256, kept until `free` or `close`."""
        ...

    def free(self, address: int) -> None:
        """Give back memory of `allocate` with which nothing is under way any more."""
        ...

    def pinned(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """`(size,)` of pinned host memory and the address at which the GPU sees it, kept until `close`."""
        ...

    def upload(self, address: int, array: NDArray[np.uint8]) -> None:
        """Copy host memory to the GPU in the stream's order; keep it until the stream was waited for.

        Drivers that stage what is not pinned read it at once, but not all of them do.
        """
        ...

    def download(self, array: NDArray[np.uint8], address: int) -> None:
        """Copy GPU memory to host memory, in the stream's order, and wait for it."""
        ...

    def wait_for(self, stream: int) -> None:
        """Let what comes wait for what another stream has been given so far."""
        ...

    def capture(self, enqueue: Callable[[], None]) -> int | None:
        """Capture what `enqueue` puts into the stream; None where it cannot be captured."""
        ...

    def replay(self, capture: int) -> None:
        """Put a capture into the stream."""
        ...

    def mark(self, number: int) -> None:
        """Note the time at which the stream gets here; any number of marks, from 0 on."""
        ...

    def seconds_between(self, first: int, second: int) -> float:
        """Between two marks, once the stream was waited for."""
        ...

    def synchronise(self) -> None:
        """Wait until the stream is empty."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def load_cuda() -> Any:
    """CUDA's runtime interface of cuda-python, 12 or 13.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    failures = []
    for name in ("cuda.bindings.runtime", "cuda.cudart"):  # from 12.6 on, and before
        try:
            return importlib.import_module(name)
        except ImportError as error:
            failures.append(str(error))
    raise BackendUnavailableError(
        f"[cuda-python] expected cuda.bindings or cuda.cudart to be importable; got: {failures[0]}; install "
        "that of your driver's CUDA: pip install 'cuda-python==12.*' (JetPack 6) or 'cuda-python==13.*'"
    )


class CudaMemory:
    """Memory of the current GPU, in the order of a device's stream.

    Closes itself when nobody holds it any more.

    Args:
        device: an `edgepose._cuda.CudaDevice`, which is held: its stream is needed to the end.

    Raises:
        BackendUnavailableError: cuda-python is not installed.
    """

    def __init__(self, device: Any) -> None:
        self._device_memory: list[int] = []
        self._host_memory: list[int] = []
        self._captures: list[Any] = []
        self._events: dict[str | int, Any] = {}
        self._device, self._stream = device, device.stream
        self._cuda = load_cuda()

    def __del__(self) -> None:
        # A process that ends gives everything back, and what is asked for here may be gone by then.
        if hasattr(self, "_cuda") and not sys.is_finalizing():
            with contextlib.suppress(Exception):  # nobody is there to hear of it
                self.close()

    @property
    def stream(self) -> int:
        return int(self._stream)

    @property
    def integrated(self) -> bool:
        return bool(self._device.traits.integrated)

    def allocate(self, size: int) -> int:
        address = int(self._call("cudaMalloc", max(1, size)))
        self._device_memory.append(address)
        self._call("cudaMemsetAsync", address, 0, max(1, size), self._stream)
        return address

    def free(self, address: int) -> None:
        self._device_memory.remove(address)
        self._call("cudaFree", address)

    def pinned(self, size: int) -> tuple[NDArray[np.uint8], int]:
        host = int(self._call("cudaHostAlloc", max(1, size), _MAPPED))
        self._host_memory.append(host)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * max(1, size)).from_address(host))
        return array[:size], int(self._call("cudaHostGetDevicePointer", host, 0))

    def upload(self, address: int, array: NDArray[np.uint8]) -> None:
        kind = self._cuda.cudaMemcpyKind(_HOST_TO_DEVICE)
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self._stream)

    def download(self, array: NDArray[np.uint8], address: int) -> None:
        kind = self._cuda.cudaMemcpyKind(_DEVICE_TO_HOST)
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self._stream)
        self.synchronise()

    def wait_for(self, stream: int) -> None:
        event = self._event("wait")
        self._call("cudaEventRecord", event, stream)
        self._call("cudaStreamWaitEvent", self._stream, event, 0)

    def capture(self, enqueue: Callable[[], None]) -> int | None:
        mode = self._cuda.cudaStreamCaptureMode(_THREAD_LOCAL)
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        except BackendError:
            self._abort_capture()
            return None
        except BaseException:
            self._abort_capture()
            raise
        try:
            graph = self._call("cudaStreamEndCapture", self._stream)
            try:
                self._captures.append(self._call("cudaGraphInstantiate", graph, 0))
            finally:
                self._cuda.cudaGraphDestroy(graph)
        except BackendError:
            return None
        return len(self._captures) - 1

    def replay(self, capture: int) -> None:
        self._call("cudaGraphLaunch", self._captures[capture], self._stream)

    def mark(self, number: int) -> None:
        self._call("cudaEventRecord", self._event(number), self._stream)

    def seconds_between(self, first: int, second: int) -> float:
        return float(self._call("cudaEventElapsedTime", self._event(first), self._event(second))) / 1000

    def synchronise(self) -> None:
        self._call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        self._cuda.cudaStreamSynchronize(self._stream)
        for capture in self._captures:
            self._cuda.cudaGraphExecDestroy(capture)
        for address in self._device_memory:
            self._cuda.cudaFree(address)
        for address in self._host_memory:
            self._cuda.cudaFreeHost(address)
        for event in self._events.values():
            self._cuda.cudaEventDestroy(event)
        self._captures, self._device_memory, self._host_memory, self._events = [], [], [], {}

    def _abort_capture(self) -> None:
        """Leaves the stream as it was; without that, nothing could be done in it any more."""
        error, graph = self._cuda.cudaStreamEndCapture(self._stream)
        if not int(error):
            self._cuda.cudaGraphDestroy(graph)
        self._cuda.cudaGetLastError()

    def _event(self, name: str | int) -> Any:
        if name not in self._events:
            self._events[name] = self._call("cudaEventCreate")
        return self._events[name]

    def _call(self, name: str, *arguments: Any) -> Any:
        """The one result of a call, or None."""
        error, *results = getattr(self._cuda, name)(*arguments)
        if int(error):
            _, text = self._cuda.cudaGetErrorString(error)
            self._cuda.cudaGetLastError()
            said = text.decode() if isinstance(text, bytes) else text
            raise BackendError(f"[cuda] expected {name} to succeed; got error {int(error)}: {said}")
        return results[0] if results else None
