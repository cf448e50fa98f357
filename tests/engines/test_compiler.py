# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's parser and compiler refuse, as messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from edgepose.bundle import LLM_DECODER, Bundle
from edgepose.engine_component import Profile
from edgepose.engines.compiler import Compiler, _shape_of
from edgepose.engines.lengths import measure_lengths
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.engines.profiles import derive_profiles
from edgepose.engines.recipe import Recipe
from edgepose.errors import BackendError
from edgepose.tensorrt_library import Library


@pytest.fixture
def posellm(exported: Callable[[str, str], Path]) -> Bundle:
    return Bundle.open(exported("posellm", "fp16"))


@pytest.fixture
def decoder(posellm: Bundle) -> OnnxGraph:
    return OnnxGraph(posellm.graph(LLM_DECODER))


@pytest.fixture
def profiles(posellm: Bundle, decoder: OnnxGraph, recipe: Recipe) -> tuple[Profile, ...]:
    lengths = measure_lengths(posellm, recipe.shapes)
    return derive_profiles(decoder, posellm.manifest, lengths, recipe.shapes)


def resized(profile: Profile, name: str, point: int, change: int) -> Profile:
    """A profile whose input has another last dimension at one point."""
    shapes = {item: list(bounds) for item, bounds in profile.shapes.items()}
    *front, last = shapes[name][point]
    shapes[name][point] = (*front, last + change)
    return Profile(profile.name, {item: tuple(bounds) for item, bounds in shapes.items()})


def keys(profile: Profile, point: int) -> int:
    """Last dimension of the bias."""
    return profile.shapes["bias"][point][-1]


def said(caught: pytest.ExceptionInfo[BackendError]) -> str:
    text = str(caught.value)
    assert "cudaError" not in text and "/_src/" not in text  # no lament about the missing GPU
    assert "tensorrt_rtx" in text and "expected" in text and "got" in text
    return text


def unknown_operator(graph: Any) -> None:
    next(node for node in graph.node if node.op_type == "Erf").op_type = "Bessel"


def mixed_types(graph: Any) -> None:
    """A float32 constant among float16 values: strongly typed networks have no casts of their own."""
    for tensor in graph.initializer:
        if tensor.name == "constant.0":
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def swapped_product(graph: Any) -> None:
    product = next(node for node in graph.node if node.op_type == "MatMul")
    product.input[0], product.input[1] = product.input[1], product.input[0]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (unknown_operator, ["gelu.Erf (Bessel) of gelu.Div float16 ['B', 256, 192]", "to parse the graph"]),
        (
            mixed_types,
            ["gelu.Div (Div) of connector.0.Add float16", "constant.0 float32 []", "same input types"],
        ),
        (swapped_product, ["connector.0.MatMul (MatMul) of connector.0.weight", "must match"]),
    ],
)
def test_unparseable_graph(
    library: Library,
    posellm: Bundle,
    changed_graph: Callable[..., OnnxGraph],
    edit: Callable[[Any], None],
    expected: list[str],
) -> None:
    graph = changed_graph(posellm.path, "connector", edit)
    with pytest.raises(BackendError) as caught:
        Compiler(library, graph)
    text = said(caught)
    assert [part for part in expected if part not in text] == [], text


def test_wrong_profile_is_found_without_compiling(
    library: Library, decoder: OnnxGraph, profiles: tuple[Profile, ...]
) -> None:
    wrong = resized(profiles[2], "bias", 1, 3)
    with pytest.raises(BackendError) as caught:
        Compiler(library, decoder).activation_bytes([*profiles[:2], wrong])
    text = said(caught)
    for part in (
        "the usual shapes of profile step",
        "layers.0.self_attn.biased (elementwise)",
        f"bias (17, 1, {keys(wrong, 1)})",
    ):
        assert part in text, text


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_a_library_that_cannot_tell_a_shape(error: type[Exception]) -> None:
    """TensorRT-RTX 1.4 raises ValueError, 1.7 RuntimeError."""

    class Tensor:
        @property
        def shape(self) -> tuple[int, ...]:
            raise error("__len__() should return >= 0")

    assert _shape_of(Tensor()) is None


def test_wrong_profile_is_found_by_the_compiler(
    library: Library, decoder: OnnxGraph, profiles: tuple[Profile, ...], recipe: Recipe
) -> None:
    with pytest.raises(BackendError) as caught:
        Compiler(library, decoder).compile([resized(profiles[2], "bias", 1, 3)], recipe)
    text = said(caught)
    for part in (
        "kOPT values",
        f"{keys(profiles[2], 1) + 3} != {keys(profiles[2], 1)}",
        "layers.0.self_attn.biased (Add) of",
        "to compile the graph",
    ):
        assert part in text, text


def test_falling_and_missing_shapes(
    library: Library, decoder: OnnxGraph, profiles: tuple[Profile, ...], recipe: Recipe
) -> None:
    compiler = Compiler(library, decoder)
    with pytest.raises(BackendError, match=r"whose shapes must rise; got: bias is \(1, 1, \d+\) at least"):
        compiler.activation_bytes([resized(profiles[2], "bias", 0, 500)])
    short = Profile("step", {name: shape for name, shape in profiles[2].shapes.items() if name != "cos"})
    with pytest.raises(BackendError, match="no shapes for input cos"):
        compiler.compile([short], recipe)


def test_right_profiles_pass_and_leave_the_network_as_it_was(
    library: Library, decoder: OnnxGraph, profiles: tuple[Profile, ...]
) -> None:
    compiler = Compiler(library, decoder)
    first = compiler.activation_bytes(profiles)
    assert first > 1 << 20 and compiler.activation_bytes(profiles) == first


def test_float32_is_not_cut_to_tf32(library: Library, decoder: OnnxGraph, recipe: Recipe) -> None:
    flags = library.module.BuilderFlag
    fresh = library.module.Builder(library.logger).create_builder_config()
    assert fresh.get_flag(flags.TF32)  # unless it is taken away
    assert not Compiler(library, decoder).config(recipe).get_flag(flags.TF32)


def test_progress_runs_to_the_end_and_may_stop_it(
    library: Library, decoder: OnnxGraph, profiles: tuple[Profile, ...], recipe: Recipe
) -> None:
    calls: list[tuple[int, int]] = []
    Compiler(library, decoder).compile(
        profiles[2:3], recipe, progress=lambda done, total: calls.append((done, total))
    )
    assert len(calls) > 5 and calls == sorted(calls) and {total for _, total in calls} == {1000}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Compiler(library, decoder).compile(profiles[2:3], recipe, progress=stop)
