# SPDX-License-Identifier: Apache-2.0
"""The decoder's graph with INT8 weights and activations: against PyTorch that rounds at the same steps."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.bundle import PRECISIONS
from edgepose.export.decoder_parity import compare_decoder
from edgepose.export.decoder_passes import TOKENS_NEEDED, make_passes
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.graphs.llama import write_llm_decoder
from edgepose.export.graphs.reader import ExportedGraph, open_session
from edgepose.export.models import Decoder, DecoderConfig
from edgepose.export.parity import TOLERANCES

from .test_graphs_llama import (
    CONFIG,
    Runner,
    assert_equals_whole_sequences,
    inputs,
    make_decoder,
    three_passes,
    weights_of,
)

Array = NDArray[Any]
GROUPED = dataclasses.replace(CONFIG, kv_heads=2)


def steps_of(config: DecoderConfig) -> dict[str, float]:
    """Steps that are as fine as the activations of `make_decoder` ask for."""
    ranges = {"q": 6.0, "k": 6.0, "v": 6.0, "o": 8.0, "gate": 6.0, "up": 6.0, "down": 60.0}
    return {
        f"decoder.layers.{layer}.{block}.{name}_proj": ranges[name] / 127
        for layer in range(config.layers)
        for block, names in (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down")))
        for name in names
    }


def write(folder: Path, config: DecoderConfig, precision: str) -> Path:
    path = folder / f"{precision}.onnx"
    weights = weights_of(make_decoder(config))
    write_llm_decoder(path, config, weights, PRECISIONS[precision], steps=steps_of(config))
    return path


class Rounded(nn.Module):
    """A linear layer by the definition of the format, in float64: integers times integers, then scales."""

    def __init__(self, weight: Tensor, step: float) -> None:
        super().__init__()
        scales = (weight.abs().amax(dim=1) / 127).double()
        self.values = torch.round(weight.double() / scales[:, None])
        self.scales = scales * step
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.clamp(torch.round(x / self.step), -128, 127).double()
        return ((whole @ self.values.T) * self.scales).to(x.dtype)


def rounded_decoder(config: DecoderConfig) -> Decoder:
    module, steps = make_decoder(config), steps_of(config)
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.Linear):
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, Rounded(part.weight, steps[f"decoder.{name}"]))
    return module


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_is_pytorch_that_rounds_at_the_same_steps(tmp_path: Path, kv_heads: int) -> None:
    """A sum in another order can move a number to the next step now and then, hence the tolerance."""
    config = dataclasses.replace(CONFIG, kv_heads=kv_heads)
    runner = Runner(write(tmp_path, config, "int8"), config, "float32")
    given = inputs(config)
    found = three_passes(runner, *given)[0]
    assert_equals_whole_sequences(found, rounded_decoder(config), given, 0.05)
    # Whereas plain PyTorch is further off than that.
    with pytest.raises(AssertionError):
        assert_equals_whole_sequences(found, make_decoder(config), given, 0.05)
    prefix, expected = found[0][0], rounded_decoder(config)(given[0])[0][0].numpy()
    assert np.median(np.abs(prefix - expected)) < 1e-5


@pytest.mark.parametrize("precision", ["int8", "int8-fp16"])
def test_layer_by_layer_against_pytorch(tmp_path: Path, precision: str) -> None:
    path = write(tmp_path, GROUPED, precision)
    weights = weights_of(make_decoder(GROUPED))
    torch.manual_seed(2)
    dtype = np.dtype(PRECISIONS[precision].activations)
    image = np.random.default_rng(0).standard_normal((6, GROUPED.hidden)).astype(np.float32)
    passes = make_passes(GROUPED, image, [], torch.randn(TOKENS_NEEDED, GROUPED.hidden), dtype)

    def compare() -> tuple[float, float | None]:
        graph = ExportedGraph(path)
        with torch.inference_mode():
            found = compare_decoder(graph, GROUPED, weights, passes, quantized=True, step=lambda: None)
        return found.layer_error, found.quantization_error

    layer_error, quantization_error = compare()
    assert layer_error < TOLERANCES[precision]
    assert quantization_error is not None and 0.01 < quantization_error < 0.5

    # A wrong step of one activation, and a wrong scale of one weight, show.
    model = onnx.load(path, load_external_data=False)
    node = next(n for n in model.graph.node if n.name.endswith("layers.1.mlp.down_proj.rounded"))
    step = next(t for t in model.graph.initializer if t.name == node.input[1])
    half = onnx.numpy_helper.to_array(step) / 2
    model.graph.initializer.append(onnx.numpy_helper.from_array(half.astype(dtype), "half"))
    node.input[1] = "half"
    path.write_bytes(model.SerializeToString())
    assert ExportedGraph(path).input_step("decoder.layers.1.mlp.down_proj.weight") == pytest.approx(
        30 / 127, rel=1e-3
    )
    assert compare()[0] > 2 * TOLERANCES[precision]


def test_reader_finds_steps_and_weights(tmp_path: Path) -> None:
    graph = ExportedGraph(write(tmp_path, GROUPED, "int8"))
    weights, steps = weights_of(make_decoder(GROUPED)), steps_of(GROUPED)
    for name, step in steps.items():
        assert graph.input_step(f"{name}.weight") == pytest.approx(step, rel=1e-6)
        weight = weights[f"{name}.weight"]
        stored = graph.linear_weight(f"{name}.weight")
        assert (stored - weight).abs().max() <= 0.501 * weight.abs().max() / 127
    assert graph.input_step("decoder.norm.weight") is None
    plain = tmp_path / "fp32.onnx"
    write_llm_decoder(plain, GROUPED, weights, PRECISIONS["fp32"])
    assert ExportedGraph(plain).input_step("decoder.layers.0.mlp.up_proj.weight") is None


@pytest.mark.parametrize("precision", ["int8", "int8-fp16"])
def test_what_is_beyond_the_range_saturates(tmp_path: Path, precision: str) -> None:
    dtype = np.dtype(PRECISIONS[precision].activations)
    weights = {"layer.weight": torch.eye(8)}
    with GraphBuilder(tmp_path / "g.onnx", PRECISIONS[precision], weights) as graph:
        x = graph.input("x", graph.dtype, ("N", 8))
        graph.output("y", graph.linear(x, "layer", int8=0.5), graph.dtype, ("N", 8))
    given = np.array([[0.0, 0.2, 0.3, -0.3, 63.5, 64.0, 1e4, -1e4]], dtype)
    session = open_session(tmp_path / "g.onnx")
    (found,) = session.run(None, {"x": given})
    np.testing.assert_allclose(found, [[0, 0, 0.5, -0.5, 63.5, 63.5, 63.5, -64]], rtol=2e-3)


@pytest.mark.parametrize("precision", ["int8", "int8-fp16"])
def test_only_portable_operators(tmp_path: Path, precision: str) -> None:
    model = onnx.load(write(tmp_path, GROUPED, precision))
    assert {opset.domain for opset in model.opset_import} == {""} and model.opset_import[0].version <= 21
    onnx.checker.check_model(model, full_check=True)
    kinds = Counter(node.op_type for node in model.graph.node)
    linears = 7 * GROUPED.layers
    # Each product has roundings of its own; for GPUs what goes into several layers is rounded once.
    shared = {"int8": linears, "int8-fp16": 4 * GROUPED.layers + 1}[precision]
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (shared, 2 * linears)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    act = {"int8": onnx.TensorProto.FLOAT, "int8-fp16": onnx.TensorProto.FLOAT16}[precision]
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = tensors[node.input[1]], tensors[node.input[2]]
            assert scale.data_type == act and zero.data_type == onnx.TensorProto.INT8
            assert not onnx.numpy_helper.to_array(zero).any() and list(scale.dims) == list(zero.dims)
            assert zero.name.endswith(".zeros") or not zero.dims
            assert (onnx.numpy_helper.to_array(scale) > 0).all()


def test_onnxruntime_fuses(tmp_path: Path) -> None:
    """All linear layers become products of INT8 numbers; nothing is widened before them."""
    path = write(tmp_path, GROUPED, "int8")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
    kinds = Counter(node.op_type for node in optimized.graph.node)
    assert kinds["MatMulIntegerToFloat"] == 21 and kinds["DequantizeLinear"] == 0
    assert kinds["MatMul"] == 9 and kinds["FusedMatMul"] == 9  # attention, three segments
    assert kinds["SimplifiedLayerNormalization"] == 7 and kinds["QuickGelu"] == 3
    assert kinds["Transpose"] == 4 * 3 and kinds["Identity"] == kinds["Cast"] == 0


def test_both_kernels_of_onnxruntime_agree(tmp_path: Path) -> None:
    """The one that it takes by itself, and the one for CPUs whose faster one would saturate."""
    path = write(tmp_path, GROUPED, "int8")
    answers = []
    for careful in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", careful)
        runner = Runner(path, GROUPED, "float32")
        runner.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        answers.append(three_passes(runner, *inputs(GROUPED))[0])
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one, other, atol=0.05)
        assert np.median(np.abs(one - other)) < 1e-5


def test_layers_without_a_step_stay_whole_and_are_named(tmp_path: Path) -> None:
    weights, steps = weights_of(make_decoder(GROUPED)), steps_of(GROUPED)
    name = "decoder.layers.1.mlp.down_proj"
    del steps[name]
    kept = write_llm_decoder(tmp_path / "d.onnx", GROUPED, weights, PRECISIONS["int8"], steps=steps)
    assert kept == [f"{name}.weight"]
    graph = ExportedGraph(tmp_path / "d.onnx")
    assert torch.equal(graph.linear_weight(kept[0]), weights[kept[0]]) and graph.input_step(kept[0]) is None
    passes = make_passes(
        GROUPED, np.ones((6, 128), np.float32), [], torch.randn(TOKENS_NEEDED, 128), np.dtype(np.float32)
    )
    with torch.inference_mode():
        found = compare_decoder(graph, GROUPED, weights, passes, quantized=True, step=lambda: None)
    assert found.layer_error < TOLERANCES["int8"]


@pytest.mark.parametrize("precision", ["int8", "int8-fp16"])
def test_tensorrt_compiles_it(tmp_path: Path, precision: str) -> None:
    """For a GPU that need not be here, as a strongly typed network."""
    tensorrt = pytest.importorskip("tensorrt_rtx", reason="the builder of TensorRT for RTX is not installed")
    path = write(tmp_path, GROUPED, precision)
    builder = tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    flags = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = tensorrt.OnnxParser(network, tensorrt.Logger(tensorrt.Logger.ERROR))
    parsed = parser.parse_from_file(str(path))
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    kinds = Counter(str(network.get_layer(i).type).rpartition(".")[2] for i in range(network.num_layers))
    assert kinds["QUANTIZE"] > 0 and kinds["DEQUANTIZE"] == 2 * 21
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(tensorrt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    sizes = {"N": (1, 3, 4), "T": (1, 4, 8), "J": (1, 1, 2), "P": (1, 5, 8), "S": (1, 6, 8)}
    sizes["K"] = tuple(sum(three) for three in zip(*(sizes[name] for name in "PST"), strict=True))
    for value in onnx.load(path, load_external_data=False).graph.input:
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        shapes = [tuple(sizes[dim][i] if isinstance(dim, str) else dim for dim in dims) for i in range(3)]
        profile.set_shape(value.name, *shapes)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None and engine.nbytes > 0


_STREAM = """
import sys, torch
from pathlib import Path
from edgepose.bundle import PRECISIONS
from edgepose.export.graphs.builder import GraphBuilder
from edgepose.export.peak_memory import peak_rss_bytes

class Weights(dict):
    def __missing__(self, name):
        return torch.full((1024, 4096), 0.5)

def write(path, layers):
    with GraphBuilder(path, PRECISIONS["int8"], Weights()) as graph:
        x = graph.input("x", graph.dtype, ("N", 4096))
        for index in range(layers):
            graph.linear(x, f"layer.{index}", int8=0.1)
        graph.output("y", graph.op("Relu", x), graph.dtype, ("N", 4096))

folder = Path(sys.argv[1])
write(folder / "warm.onnx", 2)
before = peak_rss_bytes()
write(folder / "all.onnx", 24)
print(peak_rss_bytes() - before)
"""


def test_memory_is_that_of_one_weight(tmp_path: Path) -> None:
    """Twenty-four matrices of 17 MB in float32; what two of them take is the baseline."""
    run = [sys.executable, "-c", _STREAM, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 135e6  # bytes, of 403e6 in all
