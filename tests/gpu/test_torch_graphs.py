# SPDX-License-Identifier: Apache-2.0
"""Kernels, caches, captures and the TensorRT backend on a GPU, with graphs that PyTorch runs there.

Needs no TensorRT: everything is as with engines but for the engines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepose._core import Device
from edgepose.backends.tensorrt import open_device, platform_of
from edgepose.bundle import Bundle
from edgepose.engines.recipe import Shapes

from ..backends.fake_tensorrt import library, write_engines
from ..backends.test_tensorrt import (
    test_a_command_and_a_clip_fit_the_profiles,
    test_a_replay_is_what_the_engines_would_do_anyway,
    test_answers_are_those_of_the_cpu,
    test_many_frames_take_no_more_memory_than_a_few,
    test_more_keypoints_than_the_engines_batch_are_located_in_groups,
    test_stages_are_parts_of_the_whole_time,
)
from ..test_device_decoder import (
    taihri_bundle,
    test_a_clip_is_tracked_as_on_the_host,
    test_a_clip_is_tracked_in_groups_as_on_the_host,
    test_a_person_is_located_as_on_the_host,
    test_a_whole_answer_waits_once_and_keeps_its_memory,
    test_an_exact_answer_waits_after_each_pass,
    test_joints_in_metres_are_located_as_on_the_host,
    test_more_keypoints_than_fit_at_once_are_located_in_groups,
    test_penalised_numbers_are_located_as_on_the_host,
)
from .conftest import missing

torch = pytest.importorskip("torch", reason="torch is not installed")

from ..backends.torch_backends import TorchDecoderBackend, TorchEngineBackend  # noqa: E402

__all__ = [
    "taihri_bundle",
    "test_a_clip_is_tracked_as_on_the_host",
    "test_a_clip_is_tracked_in_groups_as_on_the_host",
    "test_a_command_and_a_clip_fit_the_profiles",
    "test_a_person_is_located_as_on_the_host",
    "test_a_replay_is_what_the_engines_would_do_anyway",
    "test_a_whole_answer_waits_once_and_keeps_its_memory",
    "test_an_exact_answer_waits_after_each_pass",
    "test_answers_are_those_of_the_cpu",
    "test_joints_in_metres_are_located_as_on_the_host",
    "test_many_frames_take_no_more_memory_than_a_few",
    "test_more_keypoints_than_fit_at_once_are_located_in_groups",
    "test_more_keypoints_than_the_engines_batch_are_located_in_groups",
    "test_penalised_numbers_are_located_as_on_the_host",
    "test_stages_are_parts_of_the_whole_time",
]


class CudaTorchBackend(TorchDecoderBackend):
    """Kernels and graphs on the GPU, captured together."""

    place = "cuda"

    def open_place(self) -> tuple[Device, int]:
        device = open_device()
        return device, device.stream


@pytest.fixture(scope="session")
def torch_gpu(gpu: Any) -> Any:
    """The first GPU, where PyTorch sees it too."""
    if not torch.cuda.is_available():
        missing("PyTorch sees no GPU")
    return gpu


@pytest.fixture
def backend_type(torch_gpu: Any) -> type[CudaTorchBackend]:
    """The decoder on the GPU."""
    return CudaTorchBackend


@pytest.fixture
def on_gpu(torch_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> type[TorchEngineBackend]:
    """Engines run on the GPU, by PyTorch."""
    monkeypatch.setattr("edgepose.backends.tensorrt.TensorRtBackend", TorchEngineBackend)
    return TorchEngineBackend


@pytest.fixture(scope="module")
def build(torch_gpu: Any) -> Callable[[str | Path, Path], object]:
    """Builds what passes for the engines of a bundle on this GPU into a directory that is made."""

    def into(bundle: str | Path, directory: Path) -> None:
        manifest = write_engines(Bundle.open(bundle), directory, shapes=Shapes(images=1, extra_tokens=8))
        platform = platform_of(library(), torch_gpu.traits)
        dataclasses.replace(manifest, platform=platform).write(directory)

    return into


@pytest.fixture(scope="module")
def engines(
    build: Callable[[str | Path, Path], object], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The engine directory of a family's bundle."""
    from ..backends.bundles import bundle_of

    root = tmp_path_factory.mktemp("torch-engines")

    def find(family: str) -> Path:
        if not (root / family).exists():
            build(bundle_of(family), root / family)
        return root / family

    return find
