# SPDX-License-Identifier: Apache-2.0
"""A library with TensorRT's interface whose engines are ONNX graphs, run by ONNX Runtime on addresses.

It takes only what TensorRT takes: shapes inside a profile, no empty inputs, an address for every tensor and
memory to work in. What is done with it does not belong here.
"""

from __future__ import annotations

import ctypes
import enum
import json
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgepose._core import Device, HostDevice
from edgepose.backends import EncodedImage, EncoderInputs
from edgepose.backends.gpu_memory import GpuMemory
from edgepose.backends.onnxruntime import session_options
from edgepose.backends.tensorrt import OpenedEngines, TensorRtBackend, open_engines
from edgepose.bundle import GRAPHS, Bundle
from edgepose.engine import ENGINE_FORMAT, BundleIdentity, EngineManifest, RecipeIdentity
from edgepose.engine_check import Platform
from edgepose.engine_component import Component, Tensor, engine_file, graph_hash
from edgepose.engines.lengths import measure_lengths
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.engines.profiles import derive_profiles
from edgepose.engines.recipe import Shapes
from edgepose.file_hash import hash_file
from edgepose.manifest import MANIFEST_FILE
from edgepose.tensorrt_library import Library, RuntimeName

VERSION = "10.3.0"
STREAM = 77
_FENCE = 256  # bytes behind each memory
_NUMPY = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


def traits(**changes: Any) -> types.SimpleNamespace:
    """Of a GPU that is not there."""
    values: dict[str, Any] = {
        "name": "Fake Orin",
        "major": 8,
        "minor": 7,
        "multiprocessors": 16,
        "integrated": False,
        "total_bytes": 64 << 30,
        "driver_version": 12060,
    }
    return types.SimpleNamespace(**(values | changes))


def write_engines(bundle: Bundle, directory: Path, *, shapes: Shapes | None = None) -> EngineManifest:
    """An engine directory of a bundle, whose engines say where their graphs lie; profiles are real ones."""
    directory.mkdir()
    shapes = shapes or Shapes(images=1, extra_tokens=8)
    lengths = measure_lengths(bundle, shapes)
    components = {}
    for name in GRAPHS:
        graph = OnnxGraph(bundle.graph(name))
        profiles = derive_profiles(graph, bundle.manifest, lengths, shapes)
        session = onnxruntime.InferenceSession(str(bundle.graph(name)), providers=["CPUExecutionProvider"])
        tensors = tuple(
            Tensor(v.name, mode, _NUMPY[v.type], tuple(d if isinstance(d, int) else -1 for d in v.shape))  # type: ignore[arg-type]
            for mode, values in (("input", session.get_inputs()), ("output", session.get_outputs()))
            for v in values
        )
        file = directory / engine_file(name)
        content = {
            "graph": str(bundle.graph(name)),
            "profiles": [p.shapes for p in profiles],
            "scratch": 256 * (1 + len(components)),
        }
        file.write_text(json.dumps(content))
        components[name] = Component(
            file=file.name,
            sha256=hash_file(file),
            bytes=file.stat().st_size,
            key="0" * 64,
            graph_sha256=graph_hash(bundle.manifest.files, name),
            profiles=profiles,
            tensors=tensors,
            device_memory=256 * (1 + len(components)),
            seconds=0.0,
        )
    manifest = EngineManifest(
        format=ENGINE_FORMAT,
        bundle=BundleIdentity(
            sha256=hash_file(bundle.path / MANIFEST_FILE),
            format=bundle.manifest.format_version,
            family=bundle.manifest.family,
            precision=bundle.manifest.precision.name,
            path=str(bundle.path),
        ),
        recipe=RecipeIdentity("orin-agx-64gb", {}),
        components=components,
        platform=platform(),
        edgepose="0",
        built="2026-01-01T00:00:00Z",
    )
    manifest.write(directory)
    return manifest


def platform() -> Platform:
    from edgepose.backends.tensorrt import platform_of

    return platform_of(library(), traits())


class Context:
    """An execution context."""

    stream: int | None = STREAM

    def __init__(
        self,
        graph: str,
        session: Any,
        profiles: Sequence[dict[str, Any]],
        scratch: int,
        counts: dict[str, int],
        flush: Callable[[], None],
    ) -> None:
        self._session, self._profiles, self._counts, self._flush = session, profiles, counts, flush
        self._graph, self._scratch = graph, scratch
        self._dtypes = {v.name: _NUMPY[v.type] for v in (*session.get_inputs(), *session.get_outputs())}
        self._profile: dict[str, Any] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory = 0
        counts["contexts"] += 1

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        assert self.stream in (None, stream)
        self._profile = self._profiles[index]
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile is not None
        low, _, high = self._profile[name]
        fits = all(0 < a <= size <= b for a, size, b in zip(low, shape, high, strict=True))
        self._shapes[name] = shape
        return fits

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address != 0 and address % 256 == 0

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self._scratch
        self._memory = memory

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Of an output: found by running on zeros."""
        inputs = {v.name: np.zeros(self._shapes[v.name], _NUMPY[v.type]) for v in self._session.get_inputs()}
        (output,) = self._session.run([name], inputs)
        return tuple(output.shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert self.stream in (None, stream) and self._memory
        self._counts["runs"] += 1
        self._flush()
        _array(self._memory, (self._scratch,), "uint8")[...] = 0x5A
        inputs = {
            v.name: _array(self._addresses[v.name], self._shapes[v.name], _NUMPY[v.type])
            for v in self._session.get_inputs()
        }
        names = [v.name for v in self._session.get_outputs()]
        for v, output in zip(self._session.get_outputs(), self._session.run(names, inputs), strict=True):
            _array(self._addresses[v.name], output.shape, _NUMPY[v.type])[...] = output
        return True


def _array(address: int, shape: Sequence[int], dtype: str) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)


def library(
    counts: dict[str, int] | None = None,
    name: RuntimeName = "tensorrt",
    flush: Callable[[], None] = lambda: None,
    context: type[Context] = Context,
) -> Library:
    """The library.

    Args:
        counts: how often it did what.
        name: which of the two it passes for.
        flush: called before a run, as it runs at once: does what comes before it in the queue.
        context: what runs engines.
    """
    counted = {"contexts": 0, "runs": 0} if counts is None else counts
    listeners: list[Callable[[int, str], None]] = []

    class Engine:
        def __init__(self, content: dict[str, Any]) -> None:
            self._graph, self._profiles = content["graph"], content["profiles"]
            self.device_memory_size_v2 = content["scratch"]
            self._session = onnxruntime.InferenceSession(
                content["graph"], session_options(1), providers=["CPUExecutionProvider"]
            )

        def create_execution_context(self, strategy: Any) -> Context:
            assert strategy is Strategy.USER_MANAGED
            size = self.device_memory_size_v2
            return context(self._graph, self._session, self._profiles, size, counted, flush)

    class Strategy(enum.Enum):
        USER_MANAGED = 2

    class Runtime:
        def __init__(self, logger: Any) -> None:
            assert logger is not None

        def deserialize_cuda_engine(self, content: Any) -> Engine | None:
            try:
                return Engine(json.loads(bytes(content)))
            except ValueError:
                for listener in listeners:
                    listener(1, "magic tag does not match")
                return None

    module = types.SimpleNamespace(
        __version__=VERSION, Runtime=Runtime, ExecutionContextAllocationStrategy=Strategy
    )
    return Library(name, module, object(), listeners)


def open_fake_engines(bundle: Bundle, engines: Path) -> OpenedEngines:
    """As `open_engines` on a machine with that library and a GPU."""
    return open_engines(
        bundle,
        engines,
        load=lambda name: library(name=name),
        open_gpu=lambda: (HostDevice(), HostMemory(), traits()),
    )


class HostMemory:
    """Host memory that behaves like a GPU's.

    Args:
        integrated: as of a GPU.
        waits: how often the stream has been waited for, where somebody else does it.
    """

    stream = STREAM

    def __init__(self, *, integrated: bool = False, waits: Callable[[], int] = lambda: 0) -> None:
        self.integrated = integrated
        self._waits, self._own_waits = waits, 0
        self._marks: dict[int, tuple[float, int]] = {}
        self.late = 0.0  # seconds by which the stream is behind those who enqueue
        self._arrays: dict[int, NDArray[np.uint8]] = {}
        self._fences: list[NDArray[np.uint8]] = []
        self._freed: list[NDArray[np.uint8]] = []
        self._captures: list[list[Callable[[], None]]] = []
        self.uploads = self.replays = 0

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())

    def allocate(self, size: int) -> int:
        array = np.zeros(size + 256 + _FENCE, np.uint8)
        address = int(array.ctypes.data + 255) // 256 * 256
        self._arrays[address] = array
        self._fences.append(_array(address + size, (_FENCE,), "uint8"))
        self._fences[-1][...] = 0xA5
        return address

    def check(self) -> None:
        """Nothing was written behind memory that was asked for, nor to what was given back."""
        assert all((fence == 0xA5).all() for fence in (*self._fences, *self._freed))

    def free(self, address: int) -> None:
        self._freed.append(self._arrays.pop(address))
        self._freed[-1][...] = 0xA5  # what still reads from there shows in its results

    def pinned(self, size: int) -> tuple[NDArray[np.uint8], int]:
        address = self.allocate(size)
        return _array(address, (size,), "uint8"), address

    def upload(self, address: int, array: NDArray[np.uint8]) -> None:
        self.uploads += 1
        _array(address, array.shape, "uint8")[...] = array

    def download(self, array: NDArray[np.uint8], address: int) -> None:
        array[...] = _array(address, array.shape, "uint8")

    def wait_for(self, stream: int) -> None: ...

    def capture(self, enqueue: Callable[[], None]) -> int | None:
        self._captures.append([enqueue])
        return len(self._captures) - 1

    def replay(self, capture: int) -> None:
        self.replays += 1
        for enqueue in self._captures[capture]:
            enqueue()

    def mark(self, number: int) -> None:
        self._marks[number] = time.perf_counter() + self.late, self._waited()

    def seconds_between(self, first: int, second: int) -> float:
        (start, _), (end, before) = self._marks[first], self._marks[second]
        assert self._waited() > before, "a mark is read before the stream was waited for"
        return end - start

    def _waited(self) -> int:
        return self._own_waits + self._waits()

    def synchronise(self) -> None:
        self._own_waits += 1

    def close(self) -> None: ...


class FakeTensorRtBackend(TensorRtBackend):
    """The backend itself, over the library and the memory of this module and the core's host device."""

    gpu = traits()
    encoding = False
    engine_seconds = 0.0  # that a run takes longer on the GPU than to enqueue

    def _load_library(self, name: RuntimeName) -> Library:
        self.counts = {"contexts": 0, "runs": 0}
        return library(self.counts, name, self._flush)

    def _flush(self) -> None:
        self.memory.late += self.engine_seconds
        # The decoder's own runs come out of the queue; in front of them there is nothing to do.
        if self.encoding:
            self._device.synchronise()

    def encode(self, inputs: EncoderInputs) -> EncodedImage:
        self.encoding = any(not isinstance(value, np.ndarray) for value in inputs.values())
        try:
            return super().encode(inputs)
        finally:
            self.encoding = False

    def _open_device(self) -> tuple[Device, GpuMemory, Any]:
        device = HostDevice()
        integrated = self.gpu.integrated
        self.memory = HostMemory(integrated=integrated, waits=lambda: device.counts.synchronisations)
        return device, self.memory, self.gpu
