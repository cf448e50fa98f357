# SPDX-License-Identifier: Apache-2.0
"""The decoder's graph, with its three segments, against a PyTorch decoder that sees whole sequences."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepose.bundle import PRECISIONS
from edgepose.export.graphs.llama import write_llm_decoder
from edgepose.export.graphs.reader import ExportedGraph, open_session
from edgepose.export.models import Decoder, DecoderConfig
from edgepose.export.models.llama import rotary_table

CONFIG = DecoderConfig(
    hidden=128,
    layers=3,
    heads=4,
    kv_heads=4,
    head_dim=32,
    intermediate=192,
    vocabulary=10,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    max_positions=64,
)
PREFIX, LENGTHS, CAPACITY = 5, (4, 2, 3), 6

Array = NDArray[Any]
Cache = list[tuple[Array, Array]]
"""Keys and values by layer, (kv_heads, N, length, head_dim)."""


def make_decoder(config: DecoderConfig) -> Decoder:
    torch.manual_seed(0)
    module = Decoder(config).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        scale = 0.3 if "norm" in name else 3.0 * parameter.shape[-1] ** -0.5
        parameter.copy_(torch.randn_like(parameter) * scale + (1.0 if "norm" in name else 0.0))
    return module


def weights_of(module: Decoder) -> dict[str, Tensor]:
    return {f"decoder.{name}": tensor for name, tensor in module.state_dict().items()}


class Runner:
    """The graph in ONNX Runtime, with what the runtime's host side does."""

    def __init__(self, path: Path, config: DecoderConfig, dtype: str) -> None:
        self.session = open_session(path)
        self.config = config
        self.dtype = np.dtype(dtype)

    def empty(self, rows: int, length: int = 0, fill: float = 0.0) -> Cache:
        shape = (self.config.kv_heads, rows, length, self.config.head_dim)
        return [
            (np.full(shape, fill, self.dtype), np.full(shape, fill, self.dtype))
            for _ in range(self.config.layers)
        ]

    def run(
        self, embeddings: Tensor, first: list[int], seen: Array, asked: Array, prefix: Cache, suffix: Cache
    ) -> tuple[Array, Cache]:
        """`first` position of each row; `seen` (N, T, P+S+T); `asked` (N, J)."""
        positions = torch.tensor(first)[:, None] + torch.arange(embeddings.shape[1])
        cos, sin = rotary_table(positions, self.config.head_dim, self.config.rope_theta)
        feed = {
            "embeddings": embeddings.numpy().astype(self.dtype),
            "cos": cos.numpy(),
            "sin": sin.numpy(),
            "bias": np.where(seen, 0, -30000).astype(np.float32),
            "logit_positions": asked.astype(np.int64),
        }
        for layer in range(self.config.layers):
            for kind, shared, own in zip(("key", "value"), prefix[layer], suffix[layer], strict=True):
                feed[f"prefix_{kind}.{layer}"], feed[f"suffix_{kind}.{layer}"] = shared, own
        names = [output.name for output in self.session.get_outputs()]
        found = dict(zip(names, self.session.run(names, feed), strict=True))
        return found["hidden"], [
            (found[f"key.{layer}"], found[f"value.{layer}"]) for layer in range(self.config.layers)
        ]


def causal(rows: int, cached: Array, tokens: int) -> Array:
    """(rows, tokens, cached + tokens) from what is seen of the caches, (rows, 1, cached)."""
    triangle = np.broadcast_to(np.tril(np.ones((tokens, tokens), bool)), (rows, tokens, tokens))
    return np.concatenate((np.broadcast_to(cached, (rows, tokens, cached.shape[2])), triangle), axis=2)


def three_passes(runner: Runner, prefix: Tensor, suffix: Tensor, decode: Tensor) -> tuple[list[Array], Cache]:
    """Hidden states at all positions of prefix, ragged suffix and decode pass; the prefix cache."""
    rows, longest, steps = suffix.shape[0], suffix.shape[1], decode.shape[1]
    everywhere = np.ones((rows, 1, PREFIX), bool)
    first, shared = runner.run(
        prefix,
        [0],
        causal(1, np.zeros((1, 1, 0), bool), PREFIX),
        np.arange(PREFIX)[None],
        runner.empty(1),
        runner.empty(1),
    )
    second, own = runner.run(
        suffix,
        [PREFIX] * rows,
        causal(rows, everywhere, longest),
        np.tile(np.arange(longest), (rows, 1)),
        shared,
        runner.empty(rows),
    )
    slots = runner.empty(rows, CAPACITY, fill=9.0)  # stale contents that the mask hides
    for kept, new in zip(slots, own, strict=True):
        for target, source in zip(kept, new, strict=True):
            target[:, :, :longest] = source
    filled = np.arange(CAPACITY)[None, None] < np.array(LENGTHS)[:, None, None]
    third, _ = runner.run(
        decode,
        [PREFIX + length for length in LENGTHS],
        causal(rows, np.concatenate((everywhere, filled), axis=2), steps),
        np.tile(np.arange(steps), (rows, 1)),
        shared,
        slots,
    )
    return [first, second, third], shared


def inputs(config: DecoderConfig) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    rows = len(LENGTHS)
    return (
        torch.randn(1, PREFIX, config.hidden),
        torch.randn(rows, max(LENGTHS), config.hidden),
        torch.randn(rows, 2, config.hidden),
    )


def assert_equals_whole_sequences(
    found: list[Array], module: Decoder, given: tuple[Tensor, Tensor, Tensor], atol: float
) -> None:
    """Each question on its own, as one sequence, without a cache."""
    prefix, suffix, decode = given
    for row, length in enumerate(LENGTHS):
        sequence = torch.cat((prefix[0], suffix[row, :length], decode[row]))[None]
        expected = module(sequence)[0][0].numpy()
        np.testing.assert_allclose(found[0][0], expected[:PREFIX], atol=atol)
        np.testing.assert_allclose(found[1][row, :length], expected[PREFIX : PREFIX + length], atol=atol)
        np.testing.assert_allclose(found[2][row], expected[PREFIX + length :], atol=atol)


@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-4), ("fp16", 0.1)])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_three_segments_are_one_attention(tmp_path: Path, precision: str, atol: float, kv_heads: int) -> None:
    config = dataclasses.replace(CONFIG, kv_heads=kv_heads)
    module, spec = make_decoder(config), PRECISIONS[precision]
    assert write_llm_decoder(tmp_path / "d.onnx", config, weights_of(module), spec) == []
    runner, given = Runner(tmp_path / "d.onnx", config, spec.activations), inputs(config)
    found, shared = three_passes(runner, *given)
    assert all(hidden.dtype == spec.activations for hidden in found)
    assert_equals_whole_sequences(found, module, given, atol)
    past = module(given[0])[1]
    for (key, value), (expected_key, expected_value) in zip(shared, past, strict=True):
        np.testing.assert_allclose(key, expected_key.transpose(0, 1), atol=atol)
        np.testing.assert_allclose(value, expected_value.transpose(0, 1), atol=atol)


@pytest.mark.parametrize(("precision", "atol"), [("int4", 1e-4), ("int4-fp16", 0.1)])
def test_int4_is_pytorch_on_the_stored_weights(tmp_path: Path, precision: str, atol: float) -> None:
    config = dataclasses.replace(CONFIG, kv_heads=2)
    module, spec = make_decoder(config), PRECISIONS[precision]
    write_llm_decoder(tmp_path / "d.onnx", config, weights_of(module), spec)
    stored = ExportedGraph(tmp_path / "d.onnx")
    changed = 0.0
    for name, parameter in module.named_parameters():
        if "_proj." in name:
            kept = stored.linear_weight(f"decoder.{name}")
            changed = max(changed, float((parameter - kept).abs().max()))
            parameter.copy_(kept)
    assert changed > 0.01
    runner, given = Runner(tmp_path / "d.onnx", config, spec.activations), inputs(config)
    assert_equals_whole_sequences(three_passes(runner, *given)[0], module, given, atol)


@pytest.mark.parametrize("layers", [1, 2])
def test_only_asked_positions(tmp_path: Path, layers: int) -> None:
    """The last layer computes the asked rows alone, and they are what they are among all rows."""
    config = dataclasses.replace(CONFIG, layers=layers, kv_heads=2)
    write_llm_decoder(tmp_path / "d.onnx", config, weights_of(make_decoder(config)), PRECISIONS["fp32"])
    runner = Runner(tmp_path / "d.onnx", config, "float32")
    _, suffix, _ = inputs(config)
    rows, tokens, _ = suffix.shape
    seen = causal(rows, np.zeros((rows, 1, 0), bool), tokens)
    prefix, own = runner.empty(1), runner.empty(rows)
    every = np.tile(np.arange(tokens), (rows, 1))
    all_hidden, all_new = runner.run(suffix, [0, 3, 1], seen, every, prefix, own)
    asked = np.array([[3, 1], [0, 0], [2, 3]])
    hidden, new = runner.run(suffix, [0, 3, 1], seen, asked, prefix, own)
    np.testing.assert_allclose(hidden, np.take_along_axis(all_hidden, asked[:, :, None], axis=1), atol=1e-5)
    for (key, value), (all_key, all_value) in zip(new, all_new, strict=True):
        np.testing.assert_array_equal(key, all_key)
        np.testing.assert_array_equal(value, all_value)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int4", "int4-fp16"])
def test_only_portable_operators(tmp_path: Path, precision: str) -> None:
    config = dataclasses.replace(CONFIG, kv_heads=2)
    write_llm_decoder(tmp_path / "d.onnx", config, weights_of(make_decoder(config)), PRECISIONS[precision])
    model = onnx.load(tmp_path / "d.onnx")
    assert {opset.domain for opset in model.opset_import} == {""} and model.opset_import[0].version <= 21
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not kinds.keys() & {"If", "Loop", "Scan", "Attention", "RMSNormalization", "RotaryEmbedding"}
    assert kinds["DequantizeLinear"] == (21 if precision.startswith("int4") else 0)
    assert kinds["MatMul"] == 3 * (7 + 6) and kinds["Concat"] - kinds["Split"] < 3 * 2 + 12
    onnx.checker.check_model(model, full_check=True)
    assert not any(node.attribute for node in model.graph.node if node.op_type == "Shape")
    assert all(0 not in tensor.dims for tensor in model.graph.initializer)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_onnxruntime_fuses(tmp_path: Path, precision: str, kv_heads: int) -> None:
    config = dataclasses.replace(CONFIG, kv_heads=kv_heads)
    write_llm_decoder(tmp_path / "d.onnx", config, weights_of(make_decoder(config)), PRECISIONS[precision])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "d.onnx", options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
    kinds = Counter(node.op_type for node in optimized.graph.node)
    int4 = precision == "int4"
    assert kinds["MatMulNBits"] == (21 if int4 else 0) and kinds["DequantizeLinear"] == 0
    assert kinds["MatMul"] == (9 if int4 else 30)  # shares times values of three segments, and linear layers
    assert kinds["FusedMatMul"] == 9  # scores of three segments with the transposition of the keys
    assert kinds["SimplifiedLayerNormalization"] == 7 and kinds["Pow"] == 0
    assert kinds["QuickGelu"] == 3 and kinds["Sigmoid"] == 0  # SiLU
    assert kinds["Transpose"] == 4 * 3  # heads of queries, keys, values; and back
    assert kinds["Identity"] == kinds["Cast"] == 0


def test_layers_that_no_block_divides_are_named(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, intermediate=200)
    weights = weights_of(make_decoder(config))
    kept = write_llm_decoder(tmp_path / "d.onnx", config, weights, PRECISIONS["int4"])
    assert kept == [f"decoder.layers.{layer}.mlp.down_proj.weight" for layer in range(3)]
    open_session(tmp_path / "d.onnx")
