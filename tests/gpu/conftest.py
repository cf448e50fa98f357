# SPDX-License-Identifier: Apache-2.0
"""A real GPU for tests that elsewhere run on what stands for one.

Without a GPU, or without a library for it, they are skipped and say why; with EDGEPOSE_REQUIRE_GPU=1 they
fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepose import Localizer
from edgepose.backends.gpu_memory import CudaMemory
from edgepose.backends.tensorrt import TensorRtBackend, open_device
from edgepose.errors import BackendUnavailableError, EdgePoseError
from edgepose.tensorrt_library import RuntimeName, load_library

from ..backends.bundles import engines
from .copied_graphs import CudaCopyBackend
from .cuda_place import CudaPlace

__all__ = ["engines"]


def missing(reason: str) -> Any:
    """Skip, or fail where a GPU is required."""
    if os.environ.get("EDGEPOSE_REQUIRE_GPU") == "1":
        pytest.fail(f"EDGEPOSE_REQUIRE_GPU=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def gpu() -> Any:
    """The first GPU."""
    try:
        device = open_device()
        CudaMemory(device)
    except BackendUnavailableError as error:
        missing(str(error))
    return device


@pytest.fixture
def place(gpu: Any) -> CudaPlace:
    """The GPU's memory, and its kernels."""
    return CudaPlace(gpu)


@pytest.fixture
def backend_type(gpu: Any) -> type[CudaCopyBackend]:
    """The decoder on the GPU, graphs by ONNX Runtime on copies: needs no TensorRT."""
    return CudaCopyBackend


@pytest.fixture(scope="session")
def runtime(gpu: Any) -> RuntimeName:
    """NVIDIA's library: TensorRT where it is installed, else TensorRT-RTX."""
    said = []
    names: tuple[RuntimeName, ...] = ("tensorrt", "tensorrt_rtx")
    for name in names:
        try:
            load_library(name)
            return name
        except BackendUnavailableError as error:
            said.append(str(error))
    missing("; ".join(said))
    raise AssertionError


@pytest.fixture(scope="session")
def build(
    gpu: Any, runtime: RuntimeName, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str | Path, Path], object]:
    """Builds the engines of a bundle for this GPU into a directory that is made."""
    from edgepose.engines.build import build_engines

    recipe = tmp_path_factory.mktemp("recipe") / "here.toml"
    capability = f"{gpu.traits.major}.{gpu.traits.minor}"
    recipe.write_text(
        f'inherits = "base"\n[target]\nruntime = "{runtime}"\ncompute_capability = "{capability}"\n'
        "[bundle]\nprecisions = []\n[shapes]\nextra_tokens = 8\n",
        encoding="utf-8",
    )

    def into(bundle: str | Path, directory: Path) -> None:
        try:
            build_engines(bundle, recipe, out=directory)
        except EdgePoseError as error:
            missing(f"{runtime} builds no engines for compute capability {capability}: {error}")

    return into


@pytest.fixture
def on_gpu(runtime: RuntimeName) -> type[TensorRtBackend]:
    """Nothing is replaced: engines run on the GPU."""
    return TensorRtBackend


@pytest.fixture
def soak_frames() -> int:
    """How many frames show that memory stays flat."""
    return 1000


@pytest.fixture
def free_bytes(gpu: Any) -> Callable[[Localizer], int]:
    """How much memory is free on the GPU."""
    return lambda localizer: int(gpu.free_bytes)
