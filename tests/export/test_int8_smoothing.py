# SPDX-License-Identifier: Apache-2.0
"""Smoothing: the model stays what it was, ranges go where the formula says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export import smoothing
from edgepose.export.activation_ranges import INPUTS, LayerRanges
from edgepose.export.models import Decoder, DecoderConfig
from edgepose.export.smoothing import smooth

CONFIG = DecoderConfig(
    hidden=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    intermediate=96,
    vocabulary=10,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    max_positions=64,
)
LARGEST = 3e38


def make_decoder(config: DecoderConfig) -> Decoder:
    torch.manual_seed(0)
    module = Decoder(config).eval().requires_grad_(False).double()
    for name, parameter in module.named_parameters():
        parameter.copy_(
            torch.randn_like(parameter) * (0.3 if "norm" in name else 0.2) + 1.0 * ("norm" in name)
        )
    # Channels that are much louder than the others: what smoothing is for.
    for layer in module.layers:
        layer.input_layernorm.weight[3] *= 40
        layer.post_attention_layernorm.weight[5] *= 25
        layer.mlp.up_proj.weight[7] *= 30
        layer.self_attn.v_proj.weight[9] *= 20
    return module


def weights_of(module: Decoder) -> dict[str, Tensor]:
    return {f"decoder.{name}": tensor for name, tensor in module.state_dict().items()}


def seen_by(module: Decoder, given: Tensor) -> list[LayerRanges]:
    """Ranges by hooks on all seven layers: what they share must be the same."""
    rows: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        return lambda _, inputs: rows.__setitem__(name, inputs[0].flatten(0, 1).float())

    parts = {name: part for name, part in module.named_modules() if "_proj" in name}
    hooks = [part.register_forward_pre_hook(keep(name)) for name, part in parts.items()]  # type: ignore[arg-type]
    module(given)
    for hook in hooks:
        hook.remove()
    ranges = []
    for layer in range(module.config.layers):
        inputs, columns, some = {}, {}, {}
        for first, names in INPUTS.items():
            every = [f"layers.{layer}.{name}" for name in names]
            assert all(torch.equal(rows[name], rows[every[0]]) for name in every)
            some[first] = rows[every[0]]
            inputs[first] = some[first].abs().amax(dim=0)
            weights = torch.cat([parts[name].weight for name in every])  # type: ignore[arg-type]
            columns[first] = weights.abs().amax(dim=0).float()
        ranges.append(LayerRanges(inputs, columns, some))
    return ranges


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("kv_heads", "qk_norm"), [(4, False), (2, False), (1, True)])
def test_the_model_stays_what_it_was(
    strength: float, kv_heads: int, qk_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoothing, "_MOST", float("inf"))  # the extremes serve no model, but must be exact
    config = dataclasses.replace(CONFIG, kv_heads=kv_heads, qk_norm=qk_norm)
    module = make_decoder(config)
    given = torch.randn(2, 9, config.hidden, dtype=torch.float64)
    expected, caches = module(given)
    ranges = seen_by(module, given)
    found = smooth(config, weights_of(module), ranges, strength=strength, largest=LARGEST)
    changed = {name: found.weights[f"decoder.{name}"].double() for name in module.state_dict()}
    assert set(found.weights) == set(weights_of(module)) and len(found.weights) == len(changed)
    moved = [name for name, tensor in module.state_dict().items() if not torch.equal(tensor, changed[name])]
    assert len(moved) == 2 * (7 + 2)  # all linear layers and both norms; nothing else

    module.load_state_dict(changed)
    hidden, new = module(given)
    # The factors are float32, and so are the weights that they are folded into.
    torch.testing.assert_close(hidden, expected, rtol=1e-5, atol=2e-5)
    for (key, _), (old_key, _) in zip(new, caches, strict=True):
        torch.testing.assert_close(key, old_key, rtol=1e-5, atol=2e-5)

    # And the ranges are where the steps say.
    for layer, after in enumerate(seen_by(module, given)):
        for first, names in INPUTS.items():
            for name in names:
                step = found.steps[f"decoder.layers.{layer}.{name}"]
                assert step * 127 == pytest.approx(float(after.inputs[first].max()), rel=1e-4)
    assert len(found.steps) == 2 * 7


def test_factors_are_those_of_the_formula() -> None:
    """By the inputs of gate_proj, whose factors show in the norm before it."""
    module = make_decoder(CONFIG)
    ranges = seen_by(module, torch.randn(2, 9, CONFIG.hidden, dtype=torch.float64))
    weights = weights_of(module)
    for strength in (0.25, 0.5, 0.8):
        found = smooth(CONFIG, weights, ranges, strength=strength, largest=LARGEST)
        name = "decoder.layers.1.post_attention_layernorm.weight"
        factors = weights[name] / found.weights[name].double()
        seen, columns = (part["mlp.gate_proj"].double() for part in (ranges[1].inputs, ranges[1].columns))
        expected = seen**strength / columns ** (1 - strength)
        torch.testing.assert_close(factors / factors[0], expected / expected[0], rtol=1e-4, atol=0)
        assert float(factors.log().mean()) == pytest.approx(0, abs=1e-4)


def test_a_loud_channel_no_longer_sets_the_step() -> None:
    module = make_decoder(CONFIG)
    given = torch.randn(2, 9, CONFIG.hidden, dtype=torch.float64)
    ranges = seen_by(module, given)
    found = smooth(CONFIG, weights_of(module), ranges, strength=0.5, largest=LARGEST)

    def unevenness(each: LayerRanges, first: str) -> float:
        return float(each.inputs[first].max() / each.inputs[first].median())

    module.load_state_dict({name: found.weights[f"decoder.{name}"].double() for name in module.state_dict()})
    for before, after in zip(ranges, seen_by(module, given), strict=True):
        for first in INPUTS:
            assert unevenness(after, first) < 0.5 * unevenness(before, first)


def test_silent_channels_and_silent_layers() -> None:
    module = make_decoder(CONFIG)
    ranges = seen_by(module, torch.randn(2, 9, CONFIG.hidden, dtype=torch.float64))
    for first in INPUTS:
        ranges[0].inputs[first][4] = 0.0
        ranges[0].columns[first][6] = 0.0
    quiet, columns, rows = ranges[1].inputs, ranges[1].columns, ranges[1].rows
    ranges[1] = LayerRanges(
        {k: v * 0 for k, v in quiet.items()}, columns, {k: v * 0 for k, v in rows.items()}
    )
    weights = weights_of(module)
    found = smooth(CONFIG, weights, ranges, strength=0.5, largest=LARGEST)
    for name in weights:
        assert torch.isfinite(found.weights[name]).all()
    assert found.steps["decoder.layers.1.mlp.down_proj"] == 1 / 127
    # A channel that was silent is not made loud by much more than the loudest.
    factors = (
        weights["decoder.layers.0.input_layernorm.weight"]
        / found.weights["decoder.layers.0.input_layernorm.weight"].double()
    )
    assert float(factors[4]) > 1e-3 * float(factors.max())
    same = "decoder.layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(found.weights[same].double(), weights[same], rtol=1e-6, atol=0)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_refuses_a_strength(strength: float) -> None:
    with pytest.raises(InvalidInputError, match=r"strength from 0 to 1; got "):
        smooth(CONFIG, {}, [], strength=strength, largest=LARGEST)


def test_refuses_ranges_that_the_activation_type_cannot_hold() -> None:
    module = make_decoder(CONFIG)
    ranges = seen_by(module, torch.randn(2, 9, CONFIG.hidden, dtype=torch.float64))
    ranges[1].inputs["mlp.down_proj"][7] = 7e4
    weights = weights_of(module)
    smooth(CONFIG, weights, ranges, strength=0.5, largest=LARGEST)
    with pytest.raises(
        InvalidInputError,
        match=r"layers\.1\.mlp\.down_proj to fit .* 65504; got 70000; .*float32 activations",
    ):
        smooth(CONFIG, weights, ranges, strength=0.5, largest=65504.0)


def test_errors_are_those_of_rounded_products() -> None:
    """Of layers whose rows carry no factors, written out in NumPy."""
    module = make_decoder(CONFIG)
    ranges = seen_by(module, torch.randn(2, 9, CONFIG.hidden, dtype=torch.float64))
    weights = weights_of(module)
    found = smooth(CONFIG, weights, ranges, strength=0.6, largest=LARGEST)
    assert len(found.errors) == len(found.steps) == 2 * 7
    for name in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.down_proj",
    ):
        full = f"decoder.layers.1.{name}"
        first = next(first for first, names in INPUTS.items() if name in names)
        x, step = ranges[1].rows[first].double().numpy(), found.steps[full]
        weight, smoothed = weights[f"{full}.weight"].numpy(), found.weights[f"{full}.weight"].double().numpy()
        factors = (smoothed / weight).mean(axis=0)
        scales = np.abs(smoothed).max(axis=1) / 127
        whole = np.clip(np.rint(x / factors / step), -128, 127) @ np.rint(smoothed / scales[:, None]).T
        product = x @ weight.T
        errors = np.linalg.norm(whole * step * scales - product, axis=1) / np.linalg.norm(product, axis=1)
        median = np.sort(errors)[(len(errors) - 1) // 2]
        assert found.errors[full] == pytest.approx(median, rel=0.02) and 0.001 < median < 0.1


def test_one_token_far_beyond_the_others_keeps_a_layer_whole() -> None:
    """Many channels of one token: no factor of a channel helps, and the step is too wide for the rest."""
    module = make_decoder(CONFIG)
    ranges = seen_by(module, torch.randn(2, 9, CONFIG.hidden, dtype=torch.float64))
    weights = weights_of(module)
    assert len(smooth(CONFIG, weights, ranges, strength=0.5, largest=LARGEST).steps) == 14
    ranges[1].rows["mlp.down_proj"][0] *= 3000
    ranges[1].inputs["mlp.down_proj"][:] = ranges[1].rows["mlp.down_proj"].abs().amax(dim=0)
    found = smooth(CONFIG, weights, ranges, strength=0.5, largest=LARGEST)
    name = "decoder.layers.1.mlp.down_proj"
    assert set(found.errors) - set(found.steps) == {name} and found.errors[name] > 0.1
    # What is not rounded is not smoothed either.
    torch.testing.assert_close(
        found.weights[f"{name}.weight"].double(), weights[f"{name}.weight"], rtol=1e-6, atol=0
    )
