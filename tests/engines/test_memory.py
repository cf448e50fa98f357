# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgepose.bundle import Bundle
from edgepose.engines.lengths import measure_lengths
from edgepose.engines.memory import (
    LIBRARY_BYTES,
    ComponentMemory,
    MemoryEstimate,
    estimate_memory,
    free_memory,
    peak_memory,
    refuse_if_short,
)
from edgepose.engines.recipe import Recipe
from edgepose.errors import BackendError

GIB = 1 << 30


def test_estimate_adds_up(exported: Callable[[str, str], Path], recipe: Recipe) -> None:
    bundle = Bundle.open(exported("posellm", "fp16"))
    lengths = measure_lengths(bundle, recipe.shapes)
    parts = {
        "llm_decoder": ComponentMemory(4 * GIB, 15 * GIB, GIB),
        "vision_encoder": ComponentMemory(GIB, 4 * GIB, 2 * GIB),
    }
    estimate = estimate_memory(bundle, recipe, lengths, parts)
    spec = bundle.manifest.decoder
    token = 2 * spec.layers * spec.kv_heads * spec.head_dim * 2
    tokens = lengths.prefix.high + 17 * lengths.slots.high + 17 * lengths.draft.high
    assert estimate.cache == token * tokens
    assert estimate.build == 15 * GIB  # one after another: the largest alone
    assert estimate.run == LIBRARY_BYTES + 5 * GIB + bundle.embeddings.nbytes + 128 + estimate.cache + 2 * GIB


def test_building_takes_weights_and_nodes() -> None:
    rtx = ComponentMemory.of("tensorrt_rtx", weights=GIB, nodes=2000, live=0)
    assert rtx.building == LIBRARY_BYTES + int(3.4 * GIB) + 2000 * (512 << 10)
    tensorrt = ComponentMemory.of("tensorrt", weights=GIB, nodes=2000, live=0)
    assert tensorrt.building - rtx.building == pytest.approx(0.2 * GIB, abs=2)


def test_advice(exported: Callable[[str, str], Path], recipe: Recipe) -> None:
    def refusal(bundle: Bundle, parts: ComponentMemory, cache: int, budget: float, precision: str) -> str:
        estimate = MemoryEstimate({"llm_decoder": parts}, cache, 0)
        target = replace(recipe, target=replace(recipe.target, memory_gib=budget))
        with pytest.raises(BackendError) as caught:
            refuse_if_short(estimate, bundle, target, free=1 << 50, building=[])
        return str(caught.value)

    whole, packed = (Bundle.open(exported("posellm", name)) for name in ("fp16", "int4-fp16"))
    frames = Bundle.open(exported("taihri", "int4-fp16"))
    heavy, long = ComponentMemory(8 * GIB, 0, GIB), ComponentMemory(GIB, 0, 4 * GIB)
    assert "--precision int4-fp16" in refusal(whole, heavy, 0, 6, "fp16")
    assert "take a smaller model" in refusal(packed, heavy, 0, 6, "int4-fp16")
    assert "lower shapes.questions of the recipe (now all of" in refusal(
        packed, long, 4 * GIB, 6, "int4-fp16"
    )
    assert "lower shapes.image_tokens" in refusal(frames, long, 4 * GIB, 6, "int4-fp16")
    text = refusal(packed, long, 4 * GIB, 6, "int4-fp16")
    for part in (
        "in the 6.00 GiB",
        "got 9.44 GiB",
        "weights 1.00 GiB",
        "caches 4.00 GiB",
        "activations 4.00 GiB",
    ):
        assert part in text


def test_enough_is_enough(exported: Callable[[str, str], Path], recipe: Recipe) -> None:
    bundle = Bundle.open(exported("posellm", "fp16"))
    estimate = MemoryEstimate({"llm_decoder": ComponentMemory(GIB, 4 * GIB, GIB)}, 0, 0)
    refuse_if_short(estimate, bundle, recipe, free=estimate.build, building=["llm_decoder"])
    with pytest.raises(
        BackendError, match=r"expected 4.00 GiB of free memory to build llm_decoder \(1.00 GiB of"
    ):
        refuse_if_short(estimate, bundle, recipe, free=estimate.build - 1, building=["llm_decoder"])


def test_small_gpu(exported: Callable[[str, str], Path], recipe: Recipe) -> None:
    bundle = Bundle.open(exported("posellm", "fp16"))
    estimate = MemoryEstimate({"llm_decoder": ComponentMemory(7 * GIB, 0, GIB)}, 0, 0)
    refuse_if_short(estimate, bundle, recipe, free=1 << 40, building=[], device=16 * GIB)
    with pytest.raises(BackendError, match="in the 8.00 GiB of this GPU; got 8.44 GiB .weights 7.00 GiB"):
        refuse_if_short(estimate, bundle, recipe, free=1 << 40, building=[], device=8 * GIB)


def test_this_machine() -> None:
    assert 1 << 20 < free_memory() < 1 << 50
    assert 1 << 20 < peak_memory() < 1 << 50
