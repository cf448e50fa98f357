# SPDX-License-Identifier: Apache-2.0
"""The core's positions, rotations and repetition penalty against transformers, which defines them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose._core import IMAGE_TOKEN, Graphs, HostDecoder, TensorView

from .decoder_cases import make_dims
from .numpy_decoder import Sizes, angles, place_tokens
from .test_block_decoder import ASK, END, blocks
from .test_decoder import digits

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IMAGE_ID = 33


class Recorder(Graphs):
    """Graphs that keep the rotations of every pass and answer with given logits, or with zeros."""

    def __init__(self, logits: NDArray[np.float32] | None = None) -> None:
        super().__init__()
        self._bound: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self._logits = logits
        self._place = 0
        self.cos: list[NDArray[np.float32]] = []
        self.sin: list[NDArray[np.float32]] = []

    def bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int:
        self._bound.append(
            (graph, {view.name: view.array for view in inputs}, {view.name: view.array for view in outputs})
        )
        return len(self._bound) - 1

    def run(self, handle: int) -> None:
        graph, inputs, outputs = self._bound[handle]
        if graph == "llm_decoder":
            self.cos.extend(inputs["cos"][0].copy())
            self.sin.extend(inputs["sin"][0].copy())
        elif self._logits is not None:
            assert outputs["logits"].shape == (1, self._logits.shape[1]), "one look a pass"
            outputs["logits"][0] = self._logits[self._place]
            self._place += 1

    def release(self) -> None:
        self._bound.clear()


def rope_model(sizes: Sizes) -> Any:
    """transformers' Qwen3-VL without weights."""
    rope = {
        "rope_type": "default",
        "rope_theta": sizes.rope_theta,
        "mrope_section": list(sizes.rope_sections),
        "mrope_interleaved": True,
    }
    text: dict[str, Any] = {
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
    }
    if "rope_parameters" in inspect.signature(transformers.Qwen3VLTextConfig.__init__).parameters:
        text["rope_parameters"] = rope
    else:
        text |= {"rope_scaling": rope, "rope_theta": sizes.rope_theta}
    vision = {
        "depth": 1,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_heads": 1,
        "out_hidden_size": sizes.hidden,
    }
    config = transformers.Qwen3VLConfig(
        text_config=text,
        vision_config={**vision, "deepstack_visual_indexes": [], "spatial_merge_size": 2},
        image_token_id=IMAGE_ID,
    )
    return transformers.Qwen3VLModel(config)


def reference_rotations(sizes: Sizes, tokens: list[int], grid: tuple[int, int]) -> Any:
    """Positions `(3, length)`, and cosines and sines `(length, head_dim)` of the whole sequence."""
    model = rope_model(sizes)
    ids = torch.tensor([tokens])
    arguments = {
        "input_ids": ids,
        "image_grid_thw": torch.tensor([[1, 2 * grid[0], 2 * grid[1]]]),
        "attention_mask": torch.ones_like(ids),
    }
    if "mm_token_type_ids" in inspect.signature(model.get_rope_index).parameters:
        arguments["mm_token_type_ids"] = (ids == IMAGE_ID).int()
    positions, _ = model.get_rope_index(**arguments)
    cos, sin = model.language_model.rotary_emb(torch.zeros(1, dtype=torch.float32), positions)
    return positions[:, 0].numpy(), cos[0].numpy(), sin[0].numpy()


@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (5, 2), (12, 9)])
@pytest.mark.parametrize(
    ("head_dim", "sections"), [(128, (24, 20, 20)), (16, (4, 2, 2)), (16, (2, 3, 3)), (12, (0, 3, 3))]
)
def test_rotations_are_those_of_qwen3_vl(
    grid: tuple[int, int], head_dim: int, sections: tuple[int, ...]
) -> None:
    sizes = Sizes(
        hidden=8,
        layers=1,
        heads=1,
        kv_heads=1,
        head_dim=head_dim,
        vocabulary=60,
        rope_theta=5e6,
        rope_sections=sections,
    )
    rows = grid[0] * grid[1]
    prefix, question = [40, 41, 42, *[IMAGE_TOKEN] * rows, 43, 44], [45, ASK]
    answers = blocks([2, 1])
    graphs = Recorder()
    decoder = HostDecoder(
        graphs, make_dims(sizes), np.zeros((60, 8), np.float32), answers.head, answers.alphabets
    )
    image = np.zeros((rows, 8), np.float32)
    answer = decoder.decode(
        form=answers.form,
        prefix=prefix,
        image=image,
        image_grid=grid,
        questions=[question],
        exact=False,
        max_tokens=1,
        end=END,
        max_positions=1000,
    ).answers[0]
    tokens = [IMAGE_ID if token == IMAGE_TOKEN else token for token in (*prefix, *question, *answer.tokens)]
    fed = len(graphs.cos)
    assert fed == len(tokens) - 3, "the last number and the tokens behind it are not fed"
    positions, cos, sin = reference_rotations(sizes, tokens, grid)
    # Angles are float32 there: at position 100 an angle has an error of some 1e-5.
    np.testing.assert_allclose(graphs.cos, cos[:fed], atol=3e-5)
    np.testing.assert_allclose(graphs.sin, sin[:fed], atol=3e-5)
    ours = place_tokens([token == IMAGE_ID for token in tokens], grid)
    np.testing.assert_array_equal(ours.T, positions)
    np.testing.assert_allclose(np.cos(angles(sizes, ours)), cos, atol=3e-5)


@pytest.mark.parametrize("penalty", [1.05, 1.3, 0.8])
def test_the_penalty_is_that_of_generate(penalty: float) -> None:
    """Logits on a coarse grid, so that a penalised one often meets another."""
    from transformers import RepetitionPenaltyLogitsProcessor

    vocabulary, count = 60, 300
    sizes = Sizes(hidden=8, layers=1, heads=1, kv_heads=1, head_dim=4, vocabulary=vocabulary)
    rng = np.random.default_rng(1)
    steps = (rng.integers(-40, 40, (count, vocabulary)) / 8).astype(np.float32)
    factors = rng.choice(np.array([1, penalty, 1 / penalty], np.float32), (count, vocabulary))
    logits = steps * factors
    answers = digits(3, 3)
    decoder = HostDecoder(
        Recorder(logits),
        make_dims(sizes),
        np.zeros((vocabulary, 8), np.float32),
        answers.head,
        answers.alphabets,
    )
    prefix, question = [40, 41, IMAGE_TOKEN, IMAGE_TOKEN, 42], [43, 40, ASK]
    # Without room for a second token there is no draft to be looked at in the same pass.
    found = [
        decoder.decode(
            form=answers.form,
            prefix=prefix,
            image=np.zeros((2, 8), np.float32),
            questions=[question],
            exact=True,
            max_tokens=1,
            end=-1,
            max_positions=1000,
            repetition_penalty=penalty,
            image_token=IMAGE_ID,
        ).answers[0]
        for _ in range(count)
    ]
    ids = torch.tensor([[IMAGE_ID if token == IMAGE_TOKEN else token for token in (*prefix, *question)]])
    process = RepetitionPenaltyLogitsProcessor(penalty)
    for answer, scores in zip(found, torch.from_numpy(logits), strict=True):
        expected = process(ids, scores[None].clone())[0]
        token = int(expected.argmax())
        assert answer.tokens == [token]
        assert answer.choices[0].probability == pytest.approx(float(expected.softmax(0)[token]), abs=1e-6)
