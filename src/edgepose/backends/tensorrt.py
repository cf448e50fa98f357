# SPDX-License-Identifier: Apache-2.0
"""Engines of TensorRT or TensorRT-RTX on a GPU: contexts over memory that the core and this backend own.

Building engines does not belong here (see `edgepose.engines`), nor do caches and decoding: they are the
core's, on the GPU too.
"""

from __future__ import annotations

import importlib
import os
import platform as host
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepose._core import Device, DeviceArray, DeviceDecoder
from edgepose.backends import EncodedImage, EncoderInputs, decoder_dims
from edgepose.backends.engine_contexts import BoundEngines, Engines
from edgepose.backends.engine_encoder import EngineEncoder
from edgepose.backends.gpu_memory import CudaMemory, GpuMemory
from edgepose.bundle import ANSWER_HEAD, LLM_DECODER, LM_HEAD, VISION_ENCODER, Bundle
from edgepose.engine import EngineManifest
from edgepose.engine_check import Device as Gpu
from edgepose.engine_check import Platform
from edgepose.errors import BackendUnavailableError, InvalidInputError
from edgepose.progress import Progress
from edgepose.tensorrt_library import Library, RuntimeName, load_library

__all__ = [
    "OpenedEngines",
    "TensorRtBackend",
    "open_device",
    "open_engines",
    "open_gpu",
    "platform_of",
]


def open_device() -> Any:
    """The first GPU, as the core's device.

    Returns:
        An `edgepose._cuda.CudaDevice`.

    Raises:
        BackendUnavailableError: edgepose was built without CUDA, or there is no GPU or driver.
    """
    try:
        cuda = importlib.import_module("edgepose._cuda")
    except ImportError as error:
        raise BackendUnavailableError(
            "[cuda] expected an edgepose with GPU kernels (edgepose._cuda), which is built where nvcc is "
            f"found; got: {error}; put nvcc of CUDA 12 or later on PATH and build it again: pip install "
            "--force-reinstall --no-deps --no-binary edgepose edgepose"
        ) from error
    return cuda.CudaDevice(0)


def platform_of(library: Library, traits: Any) -> Platform:
    """What this machine has, as engines name it.

    Args:
        library: that is to run them.
        traits: of the GPU, None where they are not known.
    """
    version = 0 if traits is None else traits.driver_version
    return Platform(
        runtime=library.name,
        runtime_version=library.version,
        compute_capability=None if traits is None else f"{traits.major}.{traits.minor}",
        device=None if traits is None else Gpu(traits.name, traits.multiprocessors, traits.total_bytes),
        driver=None,
        cuda=f"{version // 1000}.{version % 1000 // 10}" if version else None,
        os=host.system(),
        arch=host.machine(),
    )


@dataclass(frozen=True, slots=True)
class OpenedEngines:
    """An engine directory that fits this machine, and what is to run it. No engine is loaded yet."""

    directory: Path
    manifest: EngineManifest
    library: Library
    device: Device
    memory: GpuMemory


def open_gpu() -> tuple[Device, GpuMemory, Any]:
    """The first GPU, memory in the order of its stream, and its traits.

    Raises:
        BackendUnavailableError: as `open_device`, or cuda-python is not installed.
    """
    device = open_device()
    memory = CudaMemory(device)
    return device, memory, device.traits


def open_engines(
    bundle: Bundle,
    engines: str | os.PathLike[str],
    *,
    runtime: RuntimeName | None = None,
    load: Callable[[RuntimeName], Library] = load_library,
    open_gpu: Callable[[], tuple[Device, GpuMemory, Any]] = open_gpu,
) -> OpenedEngines:
    """Read an engine directory and compare it with the bundle, its library and the GPU.

    Args:
        bundle: for which the engines were built.
        engines: directory written by `edgepose build`.
        runtime: whose engines they are; None takes what the directory says.
        load: gives the library of that name.
        open_gpu: gives device, memory and traits.

    Raises:
        InvalidInputError: the engines are those of another runtime.
        EngineMismatchError: the directory is none, damaged, or was built for something else.
        BackendUnavailableError: library, driver, GPU or GPU kernels are missing.
    """
    directory = Path(engines)
    manifest = EngineManifest.read(directory)
    built_for = manifest.platform.runtime
    if runtime is not None and built_for is not None and runtime != built_for:
        raise InvalidInputError(
            f"[backend] expected engines of {runtime}; got {str(directory)!r}, built for {built_for}; "
            f'pass backend="{built_for}", or build with a recipe for {runtime}'
        )
    # From what needs least to what needs most, so that each failure is told where it first shows.
    manifest.check(None, bundle, directory=directory)
    library = load(runtime or built_for or "tensorrt")
    manifest.check(platform_of(library, None), bundle, directory=directory)
    device, memory, traits = open_gpu()
    manifest.check(platform_of(library, traits), bundle, directory=directory)
    return OpenedEngines(directory, manifest, library, device, memory)


class TensorRtBackend:
    """A bundle's engines on the GPU. For one thread at a time.

    Args:
        bundle: for which the engines were built.
        engines: directory written by `edgepose build`.
        runtime: whose engines they are; None takes what the directory says.
        capture: replay each shape from a CUDA graph once it has been met.
        progress: called before each engine is loaded.

    Raises:
        EngineMismatchError: the directory is none, damaged, or was built for something else.
        BackendUnavailableError: library, driver, GPU or GPU kernels are missing.
        BackendError: the library refuses an engine.
    """

    takes_gpu_frames = True

    def __init__(
        self,
        bundle: Bundle,
        engines: str | os.PathLike[str],
        *,
        runtime: RuntimeName | None = None,
        capture: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self.on_pass: Callable[[], None] | None = None
        opened = open_engines(
            bundle, engines, runtime=runtime, load=self._load_library, open_gpu=self._open_device
        )
        self._device, self._memory = opened.device, opened.memory
        self._bundle, self._capture = bundle, capture
        self._engines = Engines(opened.library, opened.manifest, opened.directory, self._memory, progress)
        self._encoder = EngineEncoder(self._engines, self._device)

    def _load_library(self, name: RuntimeName) -> Library:
        return load_library(name)

    def _open_device(self) -> tuple[Device, GpuMemory, Any]:
        return open_gpu()

    @property
    def vision_seconds(self) -> float:
        """See `edgepose.backends.Backend`; the GPU's own clock."""
        return self._encoder.seconds

    def encode(self, inputs: EncoderInputs) -> EncodedImage:
        """See `edgepose.backends.Backend`."""
        outputs = self._encoder.encode(inputs)
        self._passed(VISION_ENCODER)
        rows = {
            name: DeviceArray(array.address, (int(np.prod(array.shape[:-1])), array.shape[-1]), array.dtype)
            for name, array in outputs.items()
        }
        levels = (f"deepstack.{level}" for level in range(len(rows) - 1))
        return EncodedImage(rows["image_embeddings"], tuple(rows[name] for name in levels))

    def decoder(self, alphabets: list[list[int]], *, exact: bool) -> DeviceDecoder:
        """See `edgepose.backends.Backend`."""
        for graph in (LLM_DECODER, LM_HEAD if exact else ANSWER_HEAD):
            self._engines.load(graph)
        component = self._engines.manifest.components[LLM_DECODER]
        step = component.profiles[component.profile("step")].shapes
        return DeviceDecoder(
            self._device,
            BoundEngines(self._engines, self._passed),
            decoder_dims(self._bundle),
            self._bundle.embeddings,
            list(self._bundle.manifest.answer_head),
            alphabets,
            least_slots=1,
            most_slots=step["suffix_key.0"][-1][2],
            most_questions=step["embeddings"][-1][0],
            capture=self._capture,
        )

    def _passed(self, graph: str) -> None:
        if self.on_pass is not None and graph in (VISION_ENCODER, LLM_DECODER):
            self.on_pass()
