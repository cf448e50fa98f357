# SPDX-License-Identifier: Apache-2.0
"""Profiles against what the runtime really feeds: every pass of a whole answer has to fit one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepose import Camera, Localizer
from edgepose.bundle import GRAPHS, LLM_DECODER, Bundle
from edgepose.engines.lengths import Range, measure_lengths
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.engines.profiles import derive_profiles
from edgepose.engines.recipe import Recipe
from edgepose.errors import BundleError, InvalidInputError
from edgepose.keypoints import COCO17
from edgepose.prompts import build_prompt

from .conftest import FAMILIES, rewrite_graph

Shapes = dict[str, tuple[int, ...]]


def profiles_of(
    bundle: Bundle, name: str, recipe: Recipe
) -> dict[str, dict[str, tuple[tuple[int, ...], ...]]]:
    lengths = measure_lengths(bundle, recipe.shapes)
    derived = derive_profiles(OnnxGraph(bundle.graph(name)), bundle.manifest, lengths, recipe.shapes)
    return {profile.name: dict(profile.shapes) for profile in derived}


def fits(shape: tuple[int, ...], bounds: tuple[tuple[int, ...], ...]) -> bool:
    low, _, high = bounds
    return len(shape) == len(low) and all(a <= s <= b for a, s, b in zip(low, shape, high, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_input_has_rising_shapes(
    exported: Callable[[str, str], Path], recipe: Recipe, family: str
) -> None:
    bundle = Bundle.open(exported(family, "fp16"))
    for name in GRAPHS:
        graph = OnnxGraph(bundle.graph(name))
        for profile in profiles_of(bundle, name, recipe).values():
            assert set(profile) == {item.name for item in graph.inputs}
            for bounds in profile.values():
                assert all(1 <= a <= b <= c for a, b, c in zip(*bounds, strict=True))


def test_lengths_are_those_of_the_prompts(exported: Callable[[str, str], Path], recipe: Recipe) -> None:
    bundle = Bundle.open(exported("posellm", "fp16"))
    texts = bundle.manifest.keypoints.named()
    values = [
        {"name": name, "description": texts[name].description, "question": texts[name].asked}
        for name in COCO17.keypoints
    ]
    prompt = build_prompt(bundle.manifest.prompt, bundle.tokenizer, values)
    lengths = measure_lengths(bundle, recipe.shapes)
    assert lengths.questions == Range(1, 17, 17)
    assert lengths.prefix.usual == len(prompt.prefix)
    longest = max(map(len, prompt.suffixes))
    assert lengths.suffix.usual == longest + 3  # ` [`, `0`, `.` open an answer
    assert lengths.slots.usual == longest + 13
    # One question alone shares all but its last token.
    alone = [len(build_prompt(bundle.manifest.prompt, bundle.tokenizer, [value]).prefix) for value in values]
    assert lengths.prefix.low <= min(alone) and max(alone) <= lengths.prefix.high
    steps = profiles_of(bundle, LLM_DECODER, recipe)
    assert list(steps) == ["prefix", "suffix", "step", "draft"]
    assert steps["step"]["embeddings"][2][:2] == (17, 4)  # a digit, and `,0.` behind it
    for name, profile in steps.items():
        cut = profile["prefix_key.0"], profile["suffix_key.0"], profile["bias"], profile["embeddings"]
        for before, own, bias, fed in zip(*cut, strict=True):
            assert bias[2] == before[2] + own[2] + fed[1], name


def test_recipe_limits(exported: Callable[[str, str], Path], recipe: Recipe) -> None:
    few = replace(recipe, shapes=replace(recipe.shapes, questions=2, extra_tokens=5, images=3))
    bundle = Bundle.open(exported("posellm", "fp16"))
    usual, limited = (measure_lengths(bundle, r.shapes) for r in (recipe, few))
    assert limited.questions == Range(1, 2, 2) and limited.prefix.high == usual.prefix.high + 5
    assert profiles_of(bundle, "vision_encoder", few)["images"]["pixels"][2][0] == 3
    frames = Bundle.open(exported("taihri", "fp16"))
    cut = replace(recipe, shapes=replace(recipe.shapes, image_tokens=300, answer_tokens=200))
    whole, cut_lengths = (measure_lengths(frames, r.shapes) for r in (recipe, cut))
    assert whole.image is not None and cut_lengths.image is not None
    assert (whole.image.high, cut_lengths.image.high) == (1960, 300)  # 2560 * 28 * 28 pixels in squares of 32
    assert cut_lengths.slots.high == 201 < whole.slots.high
    none = replace(recipe, shapes=replace(recipe.shapes, image_tokens=3))
    with pytest.raises(InvalidInputError, match="smallest frame of this bundle; got 3"):
        measure_lengths(frames, none.shapes)


@pytest.mark.parametrize("decode", ["constrained", "exact"])
@pytest.mark.parametrize("family", ["posellm", "taihri"])
def test_what_the_runtime_feeds_fits(
    exported: Callable[[str, str], Path],
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    decode: str,
) -> None:
    from edgepose.backends import onnxruntime

    bundle = Bundle.open(exported(family, "fp16"))
    fed: list[tuple[str, Shapes]] = []
    bind, run = onnxruntime._BoundGraphs.bind, onnxruntime._Sessions.run

    def binding(self: object, graph: str, inputs: list, outputs: list) -> int:
        fed.append((graph, {view.name: tuple(view.array.shape) for view in inputs}))
        return bind(self, graph, inputs, outputs)

    def running(self: object, graph: str, inputs: dict) -> dict:
        fed.append((graph, {name: tuple(value.shape) for name, value in inputs.items()}))
        return run(self, graph, inputs)

    monkeypatch.setattr(onnxruntime._BoundGraphs, "bind", binding)
    monkeypatch.setattr(onnxruntime._Sessions, "run", running)
    localizer = Localizer(bundle.path, decode=decode, max_tokens=40)
    image = np.zeros((200, 300, 3), np.uint8)
    if family == "taihri":
        camera = Camera(500, 500, 150, 100, 300, 200)
        localizer.locate(image, camera=camera)
        localizer.ask(image, "Hug!", camera=camera)
        list(localizer.track([image, image], camera=camera))
    else:
        localizer.locate(image, boxes=[(50, 20, 80, 150)], keypoints=["nose"])
        localizer.locate(image, boxes=[(50, 20, 80, 150)])
        own = {
            "thumb": "The thumb is the thickest finger.",
            "zip": "Zips close jackets.",
            "42": "42 is a badge.",
        }
        localizer.locate(image, boxes=[(50, 20, 80, 150)], keypoints=own)  # they share least
        list(localizer.track([image, image], boxes=[(50, 20, 80, 150)]))
    profiles = {name: profiles_of(bundle, name, recipe) for name in GRAPHS}
    seen = set()
    for graph, shapes in fed:
        if graph == LLM_DECODER:
            shapes = with_masked_slots(shapes)
            # On the CPU questions are packed several to a row; a device gives each its own.
            packed = shapes["embeddings"][1] > profiles[graph]["draft"]["embeddings"][2][1]
            if packed and shapes["prefix_key.0"][2] > 1:
                continue
        fitting = [
            name
            for name, bounds in profiles[graph].items()
            if all(fits(shapes[item], bounds[item]) for item in bounds)
        ]
        assert fitting, (graph, shapes)
        seen |= {(graph, name) for name in fitting}
    assert {
        (LLM_DECODER, "prefix"),
        (LLM_DECODER, "step"),
        ("vision_encoder", list(profiles["vision_encoder"])[0]),
    } <= seen


def with_masked_slots(shapes: Shapes) -> Shapes:
    """As a device feeds it: one masked slot for a segment of length 0."""
    added = 0
    result = dict(shapes)
    for segment in ("prefix", "suffix"):
        for name, shape in shapes.items():
            if name.startswith(f"{segment}_") and shape[2] == 0:
                result[name] = (*shape[:2], 1, shape[3])
        added += shapes[f"{segment}_key.0"][2] == 0
    result["bias"] = (*shapes["bias"][:2], shapes["bias"][2] + added)
    return result


def test_unknown_dimension_is_refused(copied: Callable[..., Path], recipe: Recipe) -> None:
    bundle = Bundle.open(copied())

    def rename(graph: object) -> None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_param = "Q"

    rewrite_graph(bundle.path / "connector.onnx", rename)
    with pytest.raises(BundleError, match="got 'Q' of features"):
        profiles_of(bundle, "connector", recipe)
