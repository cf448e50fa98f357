# SPDX-License-Identifier: Apache-2.0
"""The published procedure: generation against transformers, reading of answers by hand-made cases."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.export.architectures import DINOV2_LLAMA
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.models import PoseModel
from edgepose.export.prompts import build_prompt, encode_prompt
from edgepose.export.published import answer_prompts, decode_answer, generate
from edgepose.export.tokenizer import LlamaTokenizer, load_tokenizer
from edgepose.export.weights import ModelWeights
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.keypoints import COCO17


class Person:
    """A model, its prompts for 17 keypoints, and a crop."""

    def __init__(self, path: Path) -> None:
        weights = ModelWeights(open_checkpoint(path), DINOV2_LLAMA)
        self.model = PoseModel.from_weights(weights.config, weights)
        self.tokenizer: LlamaTokenizer = load_tokenizer(path)
        prompt = build_prompt("keypoint", self.tokenizer, weights.config.vision.patches)
        self.prompts = [
            encode_prompt(prompt, self.tokenizer, name=name, description=DEFAULT_TEXTS[name].description)
            for name in COCO17.keypoints
        ]
        self.pixels: Tensor = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(8))
        self.free = generate(self.model, self.prompts, self.pixels, end=-1, pad=0)
        """All prompts at once, no token ends an answer."""


@pytest.fixture(scope="module", params=["locllm_checkpoint", "posellm_checkpoint"])
def person(request: pytest.FixtureRequest) -> Person:
    return Person(request.getfixturevalue(request.param))


@torch.no_grad()
def test_generates_as_transformers_does(person: Person) -> None:
    transformers = pytest.importorskip("transformers")
    model, config = person.model, person.model.config.decoder
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            intermediate_size=config.intermediate,
            vocab_size=config.vocabulary,
            rms_norm_eps=config.rms_norm_eps,
            max_position_embeddings=config.max_positions,
            bos_token_id=1,
            eos_token_id=None,
            pad_token_id=0,
            attn_implementation="eager",
        )
    ).eval()
    theirs.model.load_state_dict(model.decoder.state_dict())
    theirs.lm_head.load_state_dict(model.lm_head.state_dict())

    longest = max(map(len, person.prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in person.prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in person.prompts])
    image = model.encode_image(person.pixels.unsqueeze(0)).expand(len(ids), -1, -1)
    reply: Any = theirs.generate(
        inputs_embeds=model.embed(ids, image),
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=13,
        output_scores=True,
        return_dict_in_generate=True,
    )
    assert reply.sequences[:, -13:].tolist() == person.free.tokens
    torch.testing.assert_close(torch.stack(reply.scores), person.free.scores, rtol=1e-3, atol=1e-3)


def test_batching_does_not_change_an_answer(person: Person) -> None:
    for row in (0, 9, 16):
        alone = generate(person.model, [person.prompts[row]], person.pixels, end=-1, pad=0)
        assert alone.tokens[0] == person.free.tokens[row]
        torch.testing.assert_close(alone.scores[:, 0], person.free.scores[:, row], rtol=1e-3, atol=1e-3)


def test_random_models_give_varied_answers(person: Person) -> None:
    answers = answer_prompts(person.model, person.tokenizer, person.prompts, person.pixels)
    assert len({tuple(tokens) for tokens in answers.tokens}) >= 12
    assert sum(x > 0 for x, _ in answers.xy) >= 2
    assert all(len(tokens) == 13 for tokens in answers.tokens)
    for row in range(17):
        assert answers.texts[row] == person.tokenizer.decode(answers.tokens[row]).strip()
        xy, score = decode_answer(answers.texts[row], person.free.scores[:, row])
        assert answers.xy[row] == xy
        assert answers.scores[row] == pytest.approx(score, abs=1e-4, nan_ok=True)
    other = answer_prompts(person.model, person.tokenizer, person.prompts[:3], -person.pixels)
    assert other.tokens != answers.tokens[:3], "answers depend on the crop"


def test_options_cost_time_and_change_nothing(person: Person) -> None:
    prompts = person.prompts[:2]
    plain = answer_prompts(person.model, person.tokenizer, prompts, person.pixels)
    full = answer_prompts(
        person.model, person.tokenizer, prompts, person.pixels, reencode="per-step", prefill_logits="all"
    )
    assert full.tokens == plain.tokens and full.xy == plain.xy
    assert full.scores == pytest.approx(plain.scores, abs=1e-5, nan_ok=True)
    assert (plain.vision_passes, plain.decoder_passes) == (2, 13)
    assert (full.vision_passes, full.decoder_passes) == (2 * 13, 13)


def test_finished_rows_are_padded_and_the_batch_ends_with_its_last_row(person: Person) -> None:
    free, prompts = person.free, person.prompts[:4]
    end = free.tokens[0][4]
    ended = generate(person.model, prompts, person.pixels, end=end, pad=7)
    assert ended.scores.shape[0] == len(ended.tokens[0])
    for before, after in zip(free.tokens[:4], ended.tokens, strict=True):
        length = before.index(end) + 1 if end in before else len(before)
        assert after == (before[:length] + [7] * 13)[: len(after)]

    alone = generate(person.model, person.prompts[:1], person.pixels, end=end, pad=7)
    stop = free.tokens[0].index(end) + 1
    assert alone.tokens == [free.tokens[0][:stop]]
    assert (alone.scores.shape[0], alone.decoder_passes) == (stop, stop)


def test_prompts_without_their_image_are_refused(person: Person) -> None:
    image = person.tokenizer.image
    prompt = person.prompts[0]
    for broken in (
        [1, 5, 6],
        prompt[:100] + prompt[101:],
        [image, *prompt[1:]],
        [*prompt[:-256], *[image] * 256],
    ):
        with pytest.raises(InvalidInputError, match="expected 256 consecutive image tokens"):
            generate(person.model, [prompt, broken], person.pixels, end=2, pad=0)


# Reading answers -------------------------------------------------------------------------------------------


def scores_for(probabilities: list[float], vocabulary: int = 4) -> Tensor:
    """Logits whose largest probability at each step is the one given."""
    rows = [[math.log(p)] + [math.log((1 - p) / (vocabulary - 1))] * (vocabulary - 1) for p in probabilities]
    return torch.tensor(rows)


STEPS = [0.30, 0.31, 0.33, 0.37, 0.41, 0.43, 0.47, 0.53, 0.59, 0.61, 0.67, 0.71, 0.73]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("text", "xy", "score"),
    [
        # Character i of the stripped text is taken to be step i.
        ("[0.512,0.334]", (0.512, 0.334), (mean(STEPS[1:6]) + mean(STEPS[7:12])) / 2),
        # y repeats x: its score is read where x stands.
        ("[0.512,0.512]", (0.512, 0.512), mean(STEPS[1:6])),
        # Also where y is only the beginning of x.
        ("[0.512,0.51,]", (0.512, 0.51), (mean(STEPS[1:6]) + mean(STEPS[1:5])) / 2),
        # One number is x; y and its score are 0.
        ("[0.512,1.334]", (0.512, 0.0), mean(STEPS[1:6]) / 2),
        ("0.5", (0.5, 0.0), mean(STEPS[:3]) / 2),
        # Nothing found: the crop's corner.
        ("[1.000,.5]", (0.0, 0.0), 0.0),
        ("", (0.0, 0.0), 0.0),
        # More than two: the first two count.
        ("0.1,0.2,0.3", (0.1, 0.2), (mean(STEPS[:3]) + mean(STEPS[4:7])) / 2),
        # A number that begins inside another word counts too.
        ("10.25 00.75", (0.25, 0.75), (mean(STEPS[1:5]) + mean(STEPS[7:11])) / 2),
        # The last step's scores are missing, so a number at the end has fewer.
        ("abcdefgh0.1234", (0.1234, 0.0), mean(STEPS[8:12]) / 2),
    ],
)
def test_answers_are_read_as_published(text: str, xy: tuple[float, float], score: float) -> None:
    found, confidence = decode_answer(text, scores_for(STEPS))
    assert found == xy
    assert confidence == pytest.approx(score, abs=1e-6)


def test_score_behind_the_last_step_is_not_a_number() -> None:
    found, confidence = decode_answer("many tokens of several characters 0.5", scores_for(STEPS))
    assert found == (0.5, 0.0)
    assert math.isnan(confidence)


def test_probability_is_over_the_whole_vocabulary() -> None:
    logits = torch.zeros(4, 10)
    logits[:3, 3] = 2.0
    logits[3] = 50.0
    _, confidence = decode_answer("0.1", logits)
    assert confidence == pytest.approx(math.exp(2.0) / (math.exp(2.0) + 9) / 2, abs=1e-6)


def test_cleanup_of_blanks_moves_characters(person: Person) -> None:
    import dataclasses

    from edgepose.export.published import _text

    ids = person.tokenizer.encode(" 0 .5 , it 's")
    assert _text(person.tokenizer, ids) == "0 .5 , it 's"
    assert _text(dataclasses.replace(person.tokenizer, cleanup_spaces=True), ids) == "0.5, it's"
