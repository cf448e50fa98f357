# SPDX-License-Identifier: Apache-2.0
"""Random TAIHRI checkpoints: what `transformers` makes of them, and answers that are worth comparing."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export.architectures import QWEN3_VL  # noqa: E402
from edgepose.export.checkpoint import open_checkpoint  # noqa: E402
from edgepose.export.random_checkpoint import QWEN3_VL_SIZES, SIZES, write_random_checkpoint  # noqa: E402
from edgepose.export.random_checkpoint.qwen3_vl import (  # noqa: E402
    Qwen3VlLayout,
    _text_shapes,
    _vision_shapes,
)
from edgepose.export.weights import ModelWeights  # noqa: E402
from edgepose.keypoints import KEYPOINT_SETS  # noqa: E402

SMALL = QWEN3_VL_SIZES["small"]
PHOTOGRAPH = Path(__file__).parents[2] / "src" / "edgepose" / "assets" / "person.jpg"


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    with Image.open(PHOTOGRAPH) as opened:
        photograph = opened.convert("RGB").resize((320, 240))
    return [photograph, photograph.crop((100, 0, 260, 240)), photograph.rotate(180)]


def test_transformers_loads_it_as_what_it_says_it_is(taihri_oracle: Any, taihri_checkpoint: Path) -> None:
    assert type(taihri_oracle.model).__name__ == "Qwen3VLForConditionalGeneration"
    stored = open_checkpoint(taihri_checkpoint).tensors
    loaded = taihri_oracle.model.state_dict()
    assert set(loaded) - set(stored.keys()) <= {"lm_head.weight"}
    for name in stored.keys():  # noqa: SIM118  (not a mapping)
        assert torch.equal(loaded[name], stored.load(name)), name
    assert loaded["lm_head.weight"] is not None
    settings = taihri_oracle.model.generation_config
    assert (settings.repetition_penalty, settings.do_sample) == (1.05, False)
    tokens = taihri_oracle.tokenizer
    assert settings.eos_token_id == [tokens.convert_tokens_to_ids("<|im_end|>")]
    images = taihri_oracle.pictures
    assert (images.patch_size, images.merge_size, list(images.image_mean)) == (16, 2, [0.5, 0.5, 0.5])
    assert dict(images.size)["shortest_edge"] == 12_544 and dict(images.size)["longest_edge"] == 2_007_040


def test_coordinates_joints_and_markers_are_one_token_each(taihri_oracle: Any) -> None:
    tokens = taihri_oracle.tokenizer
    names = [f"<{number}>" for number in range(1000)]
    names += [f"<|{name}|>" for name in KEYPOINT_SETS["smpl22"].keypoints]
    names += ["<|kpt2d_start|>", "<|kpt3d_end|>", "<|box_start|>", "<|image_pad|>"]
    assert all(len(tokens(name).input_ids) == 1 for name in names)
    assert len(tokens("<1000>").input_ids) > 1


def test_answers_depend_on_image_and_question_and_use_the_tokens_of_answers(
    taihri_oracle: Any, pictures: list[Image.Image]
) -> None:
    questions = ("Give the person a hug.", "Where is the left wrist?")
    answers = [taihri_oracle.answer(picture, question) for picture in pictures for question in questions]
    assert len({tuple(answer) for answer in answers}) == len(answers)
    tokens = taihri_oracle.tokenizer
    written = [token for answer in answers for token in tokens.convert_ids_to_tokens(answer)]
    joints = {f"<|{name}|>" for name in KEYPOINT_SETS["smpl22"].keypoints}
    bins = {f"<{number}>" for number in range(1000)}
    markers = {f"<|{block}_{end}|>" for block in ("box", "kpt2d", "kpt3d") for end in ("start", "end")}
    for kind, least in ((bins, 60), (joints, 5), (markers, 8), ({"<|im_end|>"}, 1)):
        assert sum(token in kind for token in written) >= least
    assert set(written) <= bins | joints | markers | {"<|im_end|>"}
    assert len(set(written) & bins) > 40


def test_taps_and_positions_on_three_axes_matter(taihri_oracle: Any, pictures: list[Image.Image]) -> None:
    inputs = taihri_oracle.inputs(pictures[0], "Shake hands.")
    with torch.no_grad():
        logits = taihri_oracle.model(**inputs).logits[0, -1]
        length = inputs["input_ids"].shape[1]
        flat = torch.arange(length).expand(3, 1, -1)
        straight = taihri_oracle.model(**inputs, position_ids=flat).logits[0, -1]
        taps = taihri_oracle.model.model.visual.deepstack_merger_list
        hooks = [merger.register_forward_hook(lambda *call: torch.zeros_like(call[-1])) for merger in taps]
        untapped = taihri_oracle.model(**inputs).logits[0, -1]
        for hook in hooks:
            hook.remove()
    for other in (straight, untapped):
        assert (logits - other).std() > 0.3 * logits.std()


@pytest.mark.parametrize("tied", [True, False])
def test_is_accepted_as_a_checkpoint(tmp_path: Path, tied: bool) -> None:
    size = dataclasses.replace(SMALL, tied=tied, vocabulary=1600)
    write_random_checkpoint(tmp_path, family="taihri", size=size)
    weights = ModelWeights(open_checkpoint(tmp_path), QWEN3_VL)
    config = weights.config
    assert (config.tied_head, config.decoder.vocabulary, config.decoder.deepstack) == (tied, 1600, 3)
    assert weights.source_dtype("decoder.norm.weight") == torch.bfloat16
    same = torch.equal(weights["lm_head.weight"], weights["decoder.embed_tokens.weight"])
    assert same == tied
    assert all(bool(torch.isfinite(weights[name]).all()) for name in weights)


def test_sizes_are_those_of_qwen3_vl() -> None:
    """Names and shapes of the 2 B size against `transformers`, counts against the published ones."""
    size = QWEN3_VL_SIZES["2b"]
    text = _text_shapes(size, 151_936)
    vision = _vision_shapes(size)
    assert round(sum(map(math.prod, text.values())) / 1e9, 3) == 1.721
    assert round(sum(map(math.prod, vision.values())) / 1e9, 3) == 0.407
    layout = Qwen3VlLayout(size)
    assert size.vocabulary == 152_704 and layout.shapes().keys() == {**vision, **text}.keys()
    config = transformers.Qwen3VLConfig(
        text_config={
            "hidden_size": 2048,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 6144,
            "vocab_size": size.vocabulary,
            "rope_theta": 5_000_000,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": [24, 20, 20],
                "rope_type": "default",
            },
        },
        vision_config={
            "hidden_size": 1024,
            "depth": 24,
            "num_heads": 16,
            "intermediate_size": 4096,
            "deepstack_visual_indexes": [5, 11, 17],
            "out_hidden_size": 2048,
        },
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = transformers.Qwen3VLForConditionalGeneration(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    del expected["lm_head.weight"]
    assert layout.shapes() == expected


def test_seed_decides_and_sharding_does_not(tmp_path: Path) -> None:
    one, sharded, other = (
        open_checkpoint(
            write_random_checkpoint(
                tmp_path / name, family="taihri", dtype="float32", shard_bytes=limit, seed=seed
            )
        ).tensors
        for name, limit, seed in (("one", 1 << 30, 0), ("sharded", 1 << 19, 0), ("other", 1 << 30, 1))
    )
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert len(set(index["weight_map"].values())) > 3
    for name in one.keys():  # noqa: SIM118  (not a mapping)
        assert torch.equal(one.load(name), sharded.load(name))
    assert not torch.equal(
        one.load("model.language_model.norm.weight"), other.load("model.language_model.norm.weight")
    )


def test_bad_sizes_and_options_are_refused(tmp_path: Path) -> None:
    for change, message in (
        ({"vision_hidden": 100}, "multiple of 4"),
        ({"hidden": 16}, "hidden of at least 22"),
        ({"taps": (0, 1, 2, 3)}, "fewer taps than layers"),
        ({"taps": (0, 9)}, "each a layer of the encoder"),
        ({"vocabulary": 1000}, "a vocabulary of 1000"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            write_random_checkpoint(tmp_path, family="taihri", size=dataclasses.replace(SMALL, **change))
    with pytest.raises(InvalidInputError, match="none of tokenizer, adapters, legacy for taihri; got legacy"):
        write_random_checkpoint(tmp_path, family="taihri", legacy=False)
    for family, size in (("taihri", SIZES["small"]), ("locllm", SMALL), ("vitpose", None)):
        with pytest.raises(InvalidInputError, match="with a size of its own kind"):
            write_random_checkpoint(tmp_path, family=family, size=size)
    with pytest.raises(InvalidInputError, match="a dtype out of float16, bfloat16, float32; got 'int8'"):
        write_random_checkpoint(tmp_path, family="taihri", dtype="int8")
