# SPDX-License-Identifier: Apache-2.0
"""Goldens through the engines of a directory, on the GPU.

Whether engines may run on this machine is not decided here: see `edgepose.backends.tensorrt`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.backends.engine_contexts import Engines
from edgepose.backends.tensorrt import open_engines
from edgepose.bundle import Bundle
from edgepose.progress import Progress
from edgepose.verify.fitting import fit
from edgepose.verify.goldens import Arrays
from edgepose.verify.runtime import Answers, OpenGraph

__all__ = ["EngineRuntime"]


class EngineRuntime:
    """Engines, one loaded at a time: an 8 GB board need not hold them all.

    Args:
        bundle: for which they were built.
        engines: directory written by `edgepose build`.
        progress: called while the engines' hashes are compared.

    Raises:
        EngineMismatchError: the directory is none, damaged, or was built for something else.
        BackendUnavailableError: library, driver, GPU or GPU kernels are missing.
    """

    def __init__(
        self, bundle: Bundle, engines: str | os.PathLike[str], progress: Progress | None = None
    ) -> None:
        self._opened = open_engines(bundle, engines)
        self._opened.manifest.check_hashes(engines, progress)

    @property
    def name(self) -> str:
        return self._opened.library.name

    @property
    def version(self) -> str:
        return self._opened.library.version

    @contextmanager
    def open(self, graph: str) -> Iterator[OpenGraph]:
        """See `edgepose.verify.runtime.Runtime`."""
        opened = self._opened
        try:
            engines = Engines(opened.library, opened.manifest, opened.directory, opened.memory, None)
            engines.load(graph)
            yield _Engine(engines, graph)
        finally:
            opened.memory.close()


class _Engine:
    """One engine, and memory for its tensors, which grows with what it is given."""

    def __init__(self, engines: Engines, graph: str) -> None:
        self._engines, self._graph = engines, graph
        self._component = engines.manifest.components[graph]
        self._addresses: dict[str, tuple[int, int]] = {}
        self._pinned: NDArray[np.uint8] = np.zeros(0, np.uint8)

    @property
    def profiles(self) -> tuple[str | None, ...]:
        return tuple(profile.name for profile in self._component.profiles)

    def run(self, inputs: Arrays, profile: str | None) -> Answers:
        assert profile is not None  # engines have names for all of theirs
        index = self._component.profile(profile)
        fitted = fit(self._graph, inputs, self._component.profiles[index])
        if fitted.misfit:
            return Answers((), fitted.misfit)
        return Answers(fitted.merge([self._run(piece, index) for piece in fitted.pieces]))

    def _run(self, inputs: Arrays, profile: int) -> Arrays:
        given = {}
        for tensor in self._component.tensors:
            if tensor.mode == "input":
                array = np.ascontiguousarray(inputs[tensor.name], dtype=tensor.dtype)
                given[tensor.name] = self._upload(tensor.name, array), array.shape
        context = self._engines.context(self._graph, given, {}, profile=profile)
        outputs: dict[str, NDArray[Any]] = {}
        for tensor, shape in self._engines.output_shapes(self._graph, context):
            outputs[tensor.name] = np.zeros(shape, tensor.dtype)
            context.set_tensor_address(tensor.name, self._address(tensor.name, outputs[tensor.name].nbytes))
        self._engines.enqueue(self._graph, context)
        for name, output in outputs.items():
            self._engines.memory.download(output.view(np.uint8).reshape(-1), self._addresses[name][0])
        return outputs

    def _upload(self, name: str, array: NDArray[Any]) -> int:
        memory = self._engines.memory
        content = array.view(np.uint8).reshape(-1)
        if len(self._pinned) < len(content):
            self._pinned, _ = memory.pinned(len(content))
        self._pinned[: len(content)] = content
        address = self._address(name, len(content))
        memory.upload(address, self._pinned[: len(content)])
        memory.synchronise()  # the pinned memory is the next input's
        return address

    def _address(self, name: str, size: int) -> int:
        """GPU memory of a tensor."""
        address, there = self._addresses.get(name, (0, 0))
        if there < size:
            address = self._engines.memory.allocate(size)
            self._addresses[name] = address, size
        return address
