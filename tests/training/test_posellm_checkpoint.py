# SPDX-License-Identifier: Apache-2.0
"""Compact models on disk: the exporter reads what training wrote, and the runtime answers as PyTorch does."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgepose import Localizer  # noqa: E402
from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export import export_bundle  # noqa: E402
from edgepose.export.architectures import DINOV2_LLAMA  # noqa: E402
from edgepose.export.checkpoint import open_checkpoint  # noqa: E402
from edgepose.export.models import PoseModel  # noqa: E402
from edgepose.export.tokenizer import load_tokenizer  # noqa: E402
from edgepose.export.weights import ModelWeights  # noqa: E402
from edgepose.keypoint_wording import DEFAULT_TEXTS  # noqa: E402
from edgepose.keypoints import COCO17  # noqa: E402
from edgepose.training.posellm.checkpoint import load_weights, save_checkpoint  # noqa: E402
from edgepose.training.posellm.crops import CropBatch, normalise  # noqa: E402
from edgepose.training.posellm.model import (  # noqa: E402
    greedy_answers,
    initialise,
    nano_config,
    resize_positions,
)
from edgepose.training.posellm.questions import QuestionBook  # noqa: E402
from edgepose.training.posellm.vocabulary import write_tokenizer  # noqa: E402

from .tiny_nano import TINY  # noqa: E402


def write(folder: Path, connector_hidden: int | None = 48, seed: int = 0) -> PoseModel:
    nano = copy.deepcopy(TINY) | {"connector_hidden": connector_hidden}
    model = PoseModel(nano_config(nano, write_tokenizer(folder, vocabulary=TINY["vocabulary"])))
    initialise(model, seed)
    model.eval().requires_grad_(False)
    save_checkpoint(model, folder)
    return model


@pytest.mark.parametrize("connector_hidden", [48, None])
def test_the_exporter_reads_what_was_written(tmp_path: Path, connector_hidden: int | None) -> None:
    model = write(tmp_path, connector_hidden)
    weights = ModelWeights(open_checkpoint(tmp_path), DINOV2_LLAMA)
    assert weights.config == model.config
    assert set(weights) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(weights[name], value.to(torch.float16).to(torch.float32))


def test_weights_come_back_on_another_grid(tmp_path: Path) -> None:
    model = write(tmp_path)
    larger = PoseModel(nano_config(TINY, model.config.decoder.vocabulary, size=56))
    load_weights(larger, tmp_path)
    table = model.vision.pos_embed.to(torch.float16).to(torch.float32)
    assert torch.equal(larger.vision.pos_embed, resize_positions(table, 4))
    assert torch.equal(larger.vision.pos_embed[:, 0], table[:, 0])


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    wider = copy.deepcopy(TINY)
    wider["decoder"]["intermediate"] = 96
    other = PoseModel(nano_config(wider, write_tokenizer(tmp_path, vocabulary=TINY["vocabulary"])))
    with pytest.raises(InvalidInputError, match="of the model's sizes"):
        load_weights(other, tmp_path)


def test_the_runtime_asks_and_answers_as_training_does(tmp_path: Path) -> None:
    model = write(tmp_path / "checkpoint", seed=3)
    export_bundle(
        family="posellm", checkpoint=tmp_path / "checkpoint", out=tmp_path / "bundle", precision="fp32"
    )
    localizer = Localizer(tmp_path / "bundle")
    image = np.random.default_rng(0).integers(0, 255, (43, 43, 3)).astype(np.uint8)
    pose = localizer.locate(image, boxes=[(0, 0, 43, 43)])[0]

    tokenizer = load_tokenizer(tmp_path / "checkpoint")
    texts = [DEFAULT_TEXTS[name] for name in COCO17.keypoints]
    patches = model.config.vision.patches
    book = QuestionBook(tokenizer, texts, patches=patches)
    names = torch.arange(len(texts))[None]
    questions, first = book.questions(names)
    for slot, keypoint in enumerate(pose.keypoints):
        asked = questions[0, slot, book.prefix - int(first[0, slot]) :].tolist()
        prefix = [*book.before, *[-1] * patches]
        assert list(keypoint.prompt_ids) == prefix + asked

    from edgepose.crop import SquareCrop

    crop = SquareCrop.from_box((0, 0, 43, 43), (43, 43)).warp(image, 42)
    batch = CropBatch(torch.from_numpy(crop)[None], torch.zeros(1, 21, 3), torch.ones(1, 5))
    rounded = PoseModel(model.config)
    load_weights(rounded, tmp_path / "checkpoint")
    answered = greedy_answers(rounded.eval(), book, rounded.encode_image(normalise(batch)).detach(), names)
    written = book.answers(answered)
    assert [list(keypoint.token_ids) for keypoint in pose.keypoints] == written[0].tolist()


def test_new_weights_tell_patches_apart(tmp_path: Path) -> None:
    model, same, other = (write(tmp_path / str(number), seed=seed) for number, seed in enumerate((4, 4, 5)))
    state = model.state_dict()
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in state.items())
    assert not torch.equal(model.vision.patch_embed.weight, other.vision.patch_embed.weight)
    table = model.vision.pos_embed[0, 1:]
    apart = torch.cdist(table, table)
    neighbours = torch.tensor([apart[4, 3], apart[4, 5], apart[4, 1], apart[4, 7]])
    assert (neighbours > 0.3).all() and (neighbours < apart[0, 8]).all()
