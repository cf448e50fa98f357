# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations: NumPy maxima over whole sequences, in our modules and in `transformers`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from edgepose.bundle import Bundle
from edgepose.errors import InvalidInputError
from edgepose.examples import ImageExamples
from edgepose.export import export_bundle
from edgepose.export.activation_ranges import INPUTS, LayerRanges, measure_ranges
from edgepose.export.architectures import DINOV2_LLAMA, QWEN3_VL
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import PoseModel
from edgepose.export.weights import ModelWeights

from ..taihri_oracle import TaihriOracle


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number, (width, height) in enumerate([(64, 48), (40, 60), (50, 50)]):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(folder / f"{number}.png")
    return folder


class Maxima:
    """Largest magnitudes of what goes into linear layers, by NumPy."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        self.found: dict[str, NDArray[np.float32]] = {}
        for name, part in parts.items():
            part.register_forward_pre_hook(self._keep(name))

    def _keep(self, name: str) -> Any:
        def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen = np.abs(given[0].detach().numpy().astype(np.float32).reshape(-1, given[0].shape[-1]))
            before = self.found.get(name, np.zeros(seen.shape[1], np.float32))
            self.found[name] = np.maximum(before, seen.max(axis=0))

        return keep

    def compare(self, ranges: list[LayerRanges]) -> None:
        for layer, found in enumerate(ranges):
            for first, names in INPUTS.items():
                for name in names:
                    expected = self.found[f"{layer}.{name}"]
                    assert found.inputs[first].shape == expected.shape and expected.max() > 0
                    np.testing.assert_allclose(
                        found.inputs[first], expected, rtol=2e-4, atol=2e-4 * float(expected.max())
                    )


def linears(layers: Any) -> dict[str, nn.Module]:
    return {
        f"{index}.{name}": layer.get_submodule(name)
        for index, layer in enumerate(layers)
        for names in INPUTS.values()
        for name in names
    }


def draft(family: str, checkpoint: Path, folder: Path) -> Bundle:
    export_bundle(family=family, checkpoint=checkpoint, out=folder, precision="fp32")
    return Bundle.open(folder)


@pytest.mark.parametrize("family", ["locllm", "posellm"])
def test_maxima_over_whole_sequences(
    tmp_path: Path, photographs: Path, request: pytest.FixtureRequest, family: str
) -> None:
    checkpoint: Path = request.getfixturevalue(f"{family}_checkpoint")
    weights = ModelWeights(open_checkpoint(checkpoint), DINOV2_LLAMA)
    examples = list(ImageExamples([photographs]).examples(draft(family, checkpoint, tmp_path / "b")))
    steps: list[tuple[int, int]] = []
    ranges = list(
        measure_ranges(
            DINOV2_LLAMA,
            weights.config,
            weights,
            examples,
            progress=lambda done, total: steps.append((done, total)),
        )
    )
    layers = weights.config.decoder.layers
    assert steps == [(done, layers + 1) for done in range(1, layers + 2)]

    model = PoseModel(weights.config).eval().requires_grad_(False)
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    maxima = Maxima(linears(model.decoder.layers))
    for example in examples:
        image = model.connector(model.vision(torch.from_numpy(example.vision["pixels"])))[0]
        for ids in example.continuations:
            tokens = torch.tensor([*example.prefix, *ids])
            embeddings = model.decoder.embed_tokens(tokens.clamp(min=0))
            embeddings[tokens < 0] = image
            model.decoder(embeddings[None])
    maxima.compare(ranges)
    for layer, found in enumerate(ranges):
        for first, names in INPUTS.items():
            every = [weights[f"decoder.layers.{layer}.{name}.weight"].numpy() for name in names]
            np.testing.assert_array_equal(found.columns[first], np.abs(np.concatenate(every)).max(axis=0))
            kept = found.rows[first]
            assert 100 < len(kept) <= 256 and (kept.abs().amax(dim=0) <= found.inputs[first]).all()


def test_maxima_of_transformers(
    tmp_path: Path, photographs: Path, taihri_checkpoint: Path, taihri_oracle: TaihriOracle
) -> None:
    """Positions on three axes, deepstack, frames of several sizes; prompt and answer in one piece."""
    weights = ModelWeights(open_checkpoint(taihri_checkpoint), QWEN3_VL)
    bundle = draft("taihri", taihri_checkpoint, tmp_path / "b")
    examples = list(ImageExamples([photographs], focal=300.0).examples(bundle))
    assert len({len(example.prefix) for example in examples}) > 1
    ranges = list(measure_ranges(QWEN3_VL, weights.config, weights, examples))

    image_token = bundle.manifest.prompt.image_token
    frame = bundle.manifest.frame
    assert image_token is not None and frame is not None
    model = taihri_oracle.model
    maxima = Maxima(linears(model.model.language_model.layers))
    for example in examples:
        (answer,) = example.continuations
        ids = torch.tensor([[image_token if token < 0 else token for token in (*example.prefix, *answer)]])
        patches = torch.from_numpy(np.asarray(example.vision["patches"]))
        pictures = patches.view(len(patches), 3, 1, -1).expand(-1, -1, 2, -1).reshape(len(patches), -1)
        squares = example.positions[:, np.array(example.prefix) < 0]
        rows, columns = (int(axis.max() - axis.min() + 1) * frame.merge for axis in squares[1:])
        with torch.inference_mode():
            model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pictures,
                image_grid_thw=torch.tensor([[1, rows, columns]]),
                mm_token_type_ids=(ids == image_token).int(),
            )
    maxima.compare(ranges)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decoder.layers.1.mlp.up_proj.weight", float("nan")),
        ("decoder.layers.0.self_attn.v_proj.weight", 3e38),
    ],
)
def test_numbers_that_are_none(
    tmp_path: Path, photographs: Path, locllm_checkpoint: Path, name: str, value: float
) -> None:
    weights = dict(ModelWeights(open_checkpoint(locllm_checkpoint), DINOV2_LLAMA).items())
    config = ModelWeights(open_checkpoint(locllm_checkpoint), DINOV2_LLAMA).config
    weights[name] = weights[name].clone()
    weights[name][:] = value
    examples = ImageExamples([photographs]).examples(draft("locllm", locllm_checkpoint, tmp_path / "b"))
    with pytest.raises(
        InvalidInputError, match=r"finite numbers at decoder\.layers\.\d\.\w+\.\w+_proj in the float .*0\.png"
    ):
        list(measure_ranges(DINOV2_LLAMA, config, weights, examples))


def test_padding_is_not_seen(tmp_path: Path, photographs: Path, locllm_checkpoint: Path) -> None:
    """Questions of unequal length stand side by side; what fills up the short ones counts for nothing."""
    weights = ModelWeights(open_checkpoint(locllm_checkpoint), DINOV2_LLAMA)
    examples = list(ImageExamples([photographs]).examples(draft("locllm", locllm_checkpoint, tmp_path / "b")))
    whole = examples[0]
    apart = [dataclasses.replace(whole, continuations=(ids,)) for ids in whole.continuations]
    together, one_by_one = (
        measure_ranges(DINOV2_LLAMA, weights.config, weights, each) for each in ([whole], apart)
    )
    for one, other in zip(together, one_by_one, strict=True):
        for first in INPUTS:
            torch.testing.assert_close(one.inputs[first], other.inputs[first], rtol=1e-4, atol=1e-5)


def test_no_examples(locllm_checkpoint: Path) -> None:
    weights = ModelWeights(open_checkpoint(locllm_checkpoint), DINOV2_LLAMA)
    with pytest.raises(InvalidInputError, match="at least one example; got none"):
        list(measure_ranges(DINOV2_LLAMA, weights.config, weights, []))


_STREAM = """
import types
import numpy as np
import torch
from edgepose.examples import Example
from edgepose.export.activation_ranges import measure_ranges
from edgepose.export.models import DecoderConfig
from edgepose.export.peak_memory import peak_rss_bytes

class Weights(dict):
    def __missing__(self, name):
        shapes = {"embed_tokens": (8, 1024), "layernorm": (1024,), "gate": (2048, 1024), "up_": (2048, 1024),
                  "down": (1024, 2048), "_proj": (1024, 1024)}
        return torch.full(next(shape for part, shape in shapes.items() if part in name), 1e-3)

class Blind:
    def run_vision_encoder(self, config, weights, inputs):
        return {}
    def run_connector(self, config, weights, inputs):
        return {"image_embeddings": torch.ones(2, 1024)}

def measure(layers):
    decoder = DecoderConfig(1024, layers, 8, 8, 128, 2048, 8, 10000.0, 1e-5, 64)
    example = Example("x", {}, (1, -1, -1, 2), np.arange(4), 4, ((3, 4), (5,)))
    config = types.SimpleNamespace(decoder=decoder)
    assert len(list(measure_ranges(Blind(), config, Weights(), [example]))) == layers

measure(2)
before = peak_rss_bytes()
measure(16)
print(peak_rss_bytes() - before)
"""


def test_memory_is_that_of_one_layer() -> None:
    """Sixteen layers of 42 MB; what two of them take is the baseline."""
    done = subprocess.run([sys.executable, "-c", _STREAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 135e6  # bytes, of 671e6 in all
