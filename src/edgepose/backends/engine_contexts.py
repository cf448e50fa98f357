# SPDX-License-Identifier: Apache-2.0
"""Engines of TensorRT or TensorRT-RTX, deserialized, and execution contexts over memory of others.

Which graphs run when does not belong here: the decoder is the core's, see `edgepose.backends.engine_encoder`
for the rest.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepose._core import Graphs, TensorView
from edgepose.backends.gpu_memory import GpuMemory
from edgepose.engine import EngineManifest
from edgepose.engine_component import Tensor
from edgepose.errors import BackendError, EngineMismatchError
from edgepose.progress import Progress
from edgepose.tensorrt_library import Library, quiet

__all__ = ["BoundEngines", "Engines"]

_LOG = logging.getLogger("edgepose")
_LOADED = 4  # engines of a backend: encoder, connector, decoder and one of the heads


class Engines:
    """The engines of a directory, those that were loaded, and scratch memory that their contexts share.

    Args:
        library: that runs them.
        manifest: of the directory, already checked.
        directory: where they lie.
        memory: on whose stream they run.
        progress: called before each is loaded.
    """

    def __init__(
        self,
        library: Library,
        manifest: EngineManifest,
        directory: Path,
        memory: GpuMemory,
        progress: Progress | None,
    ) -> None:
        self.manifest = manifest
        self.memory = memory
        self._library, self._directory, self._progress = library, directory, progress
        self._heard: list[str] = []
        with library.listening(self._hear), quiet():
            try:
                self._runtime = library.module.Runtime(library.logger)
            except TypeError as error:  # what the bindings make of a constructor that returns nothing
                raise BackendError(
                    f"[{library.name}] expected {library.name} {library.version} to start; got: "
                    f"{self.heard()}; update the GPU's driver to one for this library's CUDA"
                ) from error
        self._engines: dict[str, Any] = {}
        self._scratch, self._scratch_size, self._scratch_needed = 0, 0, 0

    def load(self, graph: str) -> None:
        """Deserialize an engine, unless it is loaded.

        Raises:
            EngineMismatchError: the directory has none of this graph.
            BackendError: the library refuses it.
        """
        if graph in self._engines:
            return
        if graph not in self.manifest.components:
            raise EngineMismatchError(
                f"[engine {self._directory}] expected an engine of {graph}; got "
                f"{', '.join(self.manifest.components)}; build the engines again"
            )
        file = self._directory / self.manifest.components[graph].file
        _LOG.debug("loading %s", file)
        if self._progress is not None:
            self._progress(f"load {graph}", len(self._engines), _LOADED)
        self._heard.clear()
        with file.open("rb") as stream, self._library.listening(self._hear), quiet():
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BackendError(
                f"[{self._library.name}] expected {file} to load; got: {self.heard()}; build the engines "
                "again"
            )
        self._engines[graph] = engine
        with quiet():
            size = getattr(engine, "device_memory_size_v2", None)
            self._scratch_needed = max(
                self._scratch_needed, int(engine.device_memory_size if size is None else size)
            )

    def context(
        self,
        graph: str,
        inputs: Mapping[str, tuple[int, Sequence[int]]],
        outputs: Mapping[str, int],
        *,
        profile: int | None = None,
    ) -> Any:
        """An execution context of its own for these shapes, which a capture may hold on to.

        Args:
            graph: whose engine.
            inputs: address and shape by name.
            outputs: address by name; may be given later.
            profile: index of the one to be used; None for the first that takes the shapes.

        Raises:
            EngineMismatchError: no profile takes these shapes.
            BackendError: the library refuses something.
        """
        trt = self._library.module
        component = self.manifest.components[graph]
        shapes = {name: tuple(shape) for name, (_, shape) in inputs.items()}
        allowed = range(len(component.profiles)) if profile is None else [profile]
        refusals = {place: component.profiles[place].refusals(shapes) for place in allowed}
        index = next((place for place, wrong in refusals.items() if not wrong), None)
        if index is None:
            wrong = min(refusals.values(), key=len)
            raise EngineMismatchError(
                f"[engine {self._directory}] expected shapes within a profile of {graph}; got: "
                f"{'; '.join(wrong[:3])}; build the engines for longer prompts "
                "(shapes in the recipe)"
            )
        if self._scratch_size < self._scratch_needed or not self._scratch:
            # Captures hold on to what earlier contexts were given, so that is kept.
            self._scratch = self.memory.allocate(self._scratch_needed)
            self._scratch_size = self._scratch_needed
        engine = self._engines[graph]
        self._heard.clear()
        with self._library.listening(self._hear), quiet():
            strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
            if hasattr(engine, "create_runtime_config"):
                config = engine.create_runtime_config()
                config.set_execution_context_allocation_strategy(strategy)
                if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
                    # Kernels that are swapped in later would not be in a capture.
                    specialised = trt.DynamicShapesKernelSpecializationStrategy.EAGER
                    config.dynamic_shapes_kernel_specialization_strategy = specialised
                context = engine.create_execution_context(config)
            else:
                context = engine.create_execution_context(strategy)
            try:
                fits = context is not None and context.set_optimization_profile_async(
                    index, self.memory.stream
                )
                for name, (address, shape) in inputs.items() if fits else ():
                    fits = fits and context.set_input_shape(name, tuple(shape))
                    fits = fits and context.set_tensor_address(name, address)
                for name, address in outputs.items() if fits else ():
                    fits = fits and context.set_tensor_address(name, address)
            except RuntimeError:  # instead of False, of some of them
                fits = False
            if not fits:
                raise BackendError(
                    f"[{self._library.name}] expected a context of {graph} for {shapes}; got: {self.heard()}"
                )
            if hasattr(context, "set_device_memory"):
                context.set_device_memory(self._scratch, self._scratch_size)
            else:
                context.device_memory = self._scratch
        return context

    def output_shapes(self, graph: str, context: Any) -> list[tuple[Tensor, tuple[int, ...]]]:
        """Outputs of a context whose inputs have shapes, with theirs.

        Raises:
            BackendError: one depends on more than those shapes.
        """
        found = []
        for tensor in self.manifest.components[graph].tensors:
            if tensor.mode == "output":
                shape = tuple(context.get_tensor_shape(tensor.name))
                if any(size < 0 for size in shape):
                    raise BackendError(
                        f"[{graph}] expected {tensor.name} to have a known shape; got {shape}; build the "
                        "engines again"
                    )
                found.append((tensor, shape))
        return found

    def enqueue(self, graph: str, context: Any) -> None:
        """Put a run into the stream."""
        self._heard.clear()
        with self._library.listening(self._hear):
            done = context.execute_async_v3(self.memory.stream)
        if not done:
            raise BackendError(f"[{self._library.name}] expected {graph} to run; got: {self.heard()}")

    def heard(self) -> str:
        """What the library complained about last."""
        return "; ".join(self._heard) or "no reason given"

    def _hear(self, severity: int, line: str) -> None:
        if severity <= 1:
            self._heard.append(line)


class BoundEngines(Graphs):
    """Decoder and head: one context for each shape that the core binds."""

    def __init__(self, engines: Engines, on_run: Callable[[str], None]) -> None:
        super().__init__()
        self._engines = engines
        self._on_run = on_run
        self._bound: list[tuple[str, Any]] = []

    def bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int:
        context = self._engines.context(
            graph,
            {view.name: (view.address, view.shape) for view in inputs},
            {view.name: view.address for view in outputs},
        )
        self._bound.append((graph, context))
        return len(self._bound) - 1

    def run(self, handle: int) -> None:
        graph, context = self._bound[handle]
        self._engines.enqueue(graph, context)

    def passed(self, handle: int) -> None:
        self._on_run(self._bound[handle][0])

    def release(self) -> None:
        self._engines.memory.synchronise()
        self._bound.clear()
