# SPDX-License-Identifier: Apache-2.0
"""What stands for a GPU here. tests/gpu runs the same tests on a real one, by fixtures of the same names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgepose import Localizer
from edgepose.bundle import Bundle
from edgepose.engines.recipe import Shapes

from .bundles import engines
from .fake_tensorrt import FakeTensorRtBackend, open_fake_engines, write_engines
from .places import HostPlace

__all__ = ["engines"]


@pytest.fixture(scope="session")
def build() -> Callable[[str | Path, Path], object]:
    """Builds the engines of a bundle into a directory that is made."""
    return lambda bundle, directory: write_engines(
        Bundle.open(bundle), directory, shapes=Shapes(images=1, extra_tokens=8)
    )


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> type[FakeTensorRtBackend]:
    """Engines run on what stands for a GPU."""
    monkeypatch.setattr("edgepose.backends.tensorrt.TensorRtBackend", FakeTensorRtBackend)
    monkeypatch.setattr("edgepose.verify.engine_runs.open_engines", open_fake_engines)
    return FakeTensorRtBackend


@pytest.fixture
def soak_frames() -> int:
    """How many frames show that memory stays flat."""
    return 40


@pytest.fixture
def free_bytes() -> Callable[[Localizer], int]:
    """How much memory is free, as far as the GPU can tell."""

    def free(localizer: Localizer) -> int:
        assert isinstance(localizer._backend, FakeTensorRtBackend)
        return -localizer._backend.memory.bytes

    return free


@pytest.fixture
def place() -> HostPlace:
    """Where frames lie and are worked on."""
    return HostPlace()
