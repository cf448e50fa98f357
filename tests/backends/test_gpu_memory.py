# SPDX-License-Identifier: Apache-2.0
"""A GPU's memory over what stands for cuda-python: captures that fail, and what is given back."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from typing import Any

import pytest

from edgepose.backends import gpu_memory
from edgepose.backends.gpu_memory import CudaMemory
from edgepose.errors import BackendError

STREAM = 5


class Cuda:
    """Calls by name in `said`; those in `fails` fail, and so does ending a capture that was never begun."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.fails: set[str] = set()
        self.capturing = False
        self._next = itertools.count(1)

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if name in ("cudaStreamCaptureMode", "cudaMemcpyKind"):
            return lambda number: number
        return lambda *arguments: self._call(name, *arguments)

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        self.said.append((name, *arguments))
        if name == "cudaGetErrorString":
            return 0, b"a reason"
        results = name in ("cudaMalloc", "cudaHostAlloc", "cudaStreamEndCapture", "cudaGraphInstantiate")
        wrong = name in self.fails or (name == "cudaStreamEndCapture" and not self.capturing)
        if name in ("cudaStreamBeginCapture", "cudaStreamEndCapture"):
            self.capturing = name == "cudaStreamBeginCapture"
        return (1 if wrong else 0, *((next(self._next),) if results else ()))

    def count(self, name: str) -> int:
        return sum(call[0] == name for call in self.said)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    stand_in = Cuda()
    monkeypatch.setattr(gpu_memory, "load_cuda", lambda: stand_in)
    return stand_in


def memory_of(integrated: bool = False) -> CudaMemory:
    traits = types.SimpleNamespace(integrated=integrated)
    return CudaMemory(types.SimpleNamespace(stream=STREAM, traits=traits))


def test_it_is_that_of_the_device(cuda: Cuda) -> None:
    assert memory_of().stream == STREAM
    assert [memory_of(integrated).integrated for integrated in (False, True)] == [False, True]


@pytest.mark.parametrize("fails", [None, "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_a_capture_that_fails_leaves_the_stream_as_it_was(cuda: Cuda, fails: str | None) -> None:
    memory = memory_of()
    cuda.fails = set() if fails is None else {fails}
    assert memory.capture(lambda: None) == (0 if fails is None else None)
    assert not cuda.capturing
    assert cuda.count("cudaStreamEndCapture") == 1
    assert cuda.count("cudaGraphDestroy") == (0 if fails == "cudaStreamEndCapture" else 1)


@pytest.mark.parametrize("error", [BackendError("no"), KeyboardInterrupt(), ValueError("no")])
def test_whatever_is_raised_in_a_capture_ends_it(cuda: Cuda, error: BaseException) -> None:
    memory = memory_of()

    def enqueue() -> None:
        raise error

    if isinstance(error, BackendError):
        assert memory.capture(enqueue) is None  # it may work without a capture
    else:
        with pytest.raises(type(error)):
            memory.capture(enqueue)
    assert not cuda.capturing
    assert cuda.count("cudaGraphDestroy") == 1
    assert cuda.said[-1] == ("cudaGetLastError",)


def test_what_nobody_holds_any_more_is_given_back(cuda: Cuda) -> None:
    memory = memory_of()
    address = memory.allocate(16)
    memory.capture(lambda: None)
    kept = memory.allocate(32)
    memory.free(address)
    del memory
    names = [call[0] for call in cuda.said]
    after = cuda.said[len(names) - 1 - names[::-1].index("cudaStreamSynchronize") :]
    assert after[0] == ("cudaStreamSynchronize", STREAM)
    assert ("cudaFree", kept) in after and ("cudaFree", address) not in after
    assert any(call[0] == "cudaGraphExecDestroy" for call in after)


def test_nothing_is_given_back_where_there_was_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise ImportError("no cuda-python")

    monkeypatch.setattr(gpu_memory, "load_cuda", missing)
    with pytest.raises(ImportError):
        memory_of()
