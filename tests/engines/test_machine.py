# SPDX-License-Identifier: Apache-2.0
"""Which platform engines are built for, with GPUs that are not here."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest

from edgepose.engine_check import Device
from edgepose.engines.machine import Gpu, find_gpu, platform_for
from edgepose.engines.recipe import load_recipe
from edgepose.errors import BackendUnavailableError, EngineMismatchError
from edgepose.tensorrt_library import Library, RuntimeName

ORIN = Gpu(Device("Orin", 16, 64 << 30), "8.7", "12.6", "R36.4.3", integrated=True)
RTX = Gpu(Device("NVIDIA RTX A4000", 48, 16 << 30), "8.6", "13.0", "580.65.06", integrated=False)


def library_of(name: RuntimeName, version: str) -> Library:
    known = types.SimpleNamespace(__members__={"NONE": 0, "SM86": 1, "SM89": 2})
    return Library(name, types.SimpleNamespace(__version__=version, ComputeCapability=known), None, [])


def test_tensorrt_belongs_to_the_card() -> None:
    platform = platform_for(library_of("tensorrt", "10.3.0"), load_recipe("orin-agx-64gb"), ORIN)
    assert platform.device == ORIN.device and platform.compute_capability == "8.7"
    assert (platform.runtime_version, platform.driver, platform.cuda) == ("10.3.0", "R36.4.3", "12.6")


def test_tensorrt_without_or_with_another_card() -> None:
    library, recipe = library_of("tensorrt", "10.3.0"), load_recipe("orin-nano-8gb")
    with pytest.raises(BackendUnavailableError, match="expected a GPU, .*--recipe rtx-ci"):
        platform_for(library, recipe, None)
    with pytest.raises(EngineMismatchError, match=r"compute capability 8.7; got 8.6 \(NVIDIA RTX A4000\)"):
        platform_for(library, recipe, RTX)


@pytest.mark.parametrize("gpu", [None, ORIN, RTX])
def test_rtx_belongs_to_the_compute_capability(gpu: Gpu | None) -> None:
    platform = platform_for(library_of("tensorrt_rtx", "1.7.1"), load_recipe("rtx-ci"), gpu)
    assert platform.device is None and platform.compute_capability == "8.6"


def test_rtx_takes_that_of_the_card_where_the_recipe_names_none() -> None:
    recipe = load_recipe("rtx-ci")
    anywhere = replace(recipe, target=replace(recipe.target, compute_capability=None))
    library = library_of("tensorrt_rtx", "1.7.1")
    assert platform_for(library, anywhere, RTX).compute_capability == "8.6"
    with pytest.raises(EngineMismatchError, match=r"\(SM86, SM89\); got none named, and no GPU here"):
        platform_for(library, anywhere, None)
    with pytest.raises(EngineMismatchError, match="got SM87"):
        platform_for(library, anywhere, ORIN)


def test_looking_for_a_gpu_never_fails() -> None:
    gpu = find_gpu()
    assert gpu is None or (gpu.device.multiprocessors > 0 and "." in gpu.compute_capability)
