# SPDX-License-Identifier: Apache-2.0
"""The 3-D model in training against `transformers`, against the exporter and against the runtime."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export.checkpoint import open_checkpoint  # noqa: E402
from edgepose.export.families.taihri import TAIHRI  # noqa: E402
from edgepose.export.weights import ModelWeights  # noqa: E402
from edgepose.training.taihri.checkpoint import open_model, save_checkpoint  # noqa: E402
from edgepose.training.taihri.decoding import locate, sample_answers  # noqa: E402
from edgepose.training.taihri.frames import Frames, patches_of, seen_frames  # noqa: E402
from edgepose.training.taihri.language import Language  # noqa: E402
from edgepose.training.taihri.lessons import LessonMix, draw_trees  # noqa: E402
from edgepose.training.taihri.model import TaihriModel  # noqa: E402
from edgepose.training.taihri.packing import Branch, Tree, pack, rope_positions  # noqa: E402
from edgepose.training.taihri.supervised import answer_loss  # noqa: E402

from ..taihri_oracle import TaihriOracle  # noqa: E402
from .dot_people import render_dots  # noqa: E402
from .small_taihri import small_taihri  # noqa: E402

SIZE = (192, 128)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights larger than first ones, so that answers depend on everything."""
    folder = small_taihri(tmp_path_factory.mktemp("taihri"))
    model, _ = open_model(folder)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(mean + 0.25 * torch.randn(parameter.shape, generator=generator))
    return save_checkpoint(model, folder, files=folder, dtype="float32")


@pytest.fixture(scope="module")
def opened(checkpoint: Path) -> tuple[TaihriModel, Language]:
    model, language = open_model(checkpoint)
    return model.eval(), language


@pytest.fixture(scope="module")
def frames(opened: tuple[TaihriModel, Language]) -> Frames:
    rendered = render_dots(0, 2, width=SIZE[0], height=SIZE[1], focal=(250.0, 250.0), shift=0.03)
    return seen_frames(rendered, opened[1].view, opened[1].codec)


@pytest.fixture(scope="module")
def trees(opened: tuple[TaihriModel, Language], frames: Frames) -> list[Tree]:
    generator = torch.Generator().manual_seed(3)
    return draw_trees(frames, tokens_of(opened[1]), opened[1], LessonMix(questions=3, most=4), generator)


def tokens_of(language: Language) -> int:
    return SIZE[0] * SIZE[1] // language.view.factor**2


def packed_logits(
    model: TaihriModel, language: Language, frames: Frames, trees: list[Tree]
) -> tuple[Any, Any]:
    rows = model.see(patches_of(frames.pixels, language.view), SIZE[1], SIZE[0])
    packed = pack(
        trees, image_token=language.image_token, rows=rows.rows, columns=rows.columns, pad=language.codec.pad
    )
    return model.logits(model.read(rows, packed)), packed


@torch.no_grad()
def test_packed_answers_are_those_of_transformers(
    checkpoint: Path, opened: tuple[TaihriModel, Language], frames: Frames, trees: list[Tree]
) -> None:
    """Ids, positions, frame and logits, each question on its own there and all in one sequence here."""
    pytest.importorskip("transformers")
    model, language = opened
    oracle = TaihriOracle(checkpoint)
    logits, packed = packed_logits(model, language, frames, trees)
    answers = [(index, branch) for index, tree in enumerate(trees) for branch in tree.branches]
    assert len(answers) == 6 and len({len(tree.branches) for tree in trees}) == 1
    losses = []
    for number, (index, branch) in enumerate(answers):
        picture = frames.pixels[index].numpy()
        seen = oracle.pictures(images=[picture], return_tensors="pt", do_resize=False)
        ids = torch.tensor([[*trees[index].stem, *branch.context, *branch.answer]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **seen}
        inputs["mm_token_type_ids"] = (ids == language.image_token).int()
        theirs = oracle.model(**inputs).logits[0, -len(branch.answer) - 1 : -1]
        ours = logits[packed.answer_of == number]
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
        assert packed.targets[packed.answer_of == number].tolist() == list(branch.answer)
        losses.append(
            torch.nn.functional.cross_entropy(theirs, torch.tensor(branch.answer), reduction="none")
        )
    found = answer_loss(logits, packed, language, spread=0.0)
    each, numbers = torch.cat(losses), ~packed.shares.isnan()
    torch.testing.assert_close(found["numbers"], each[numbers].mean(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["words"], each[~numbers].mean(), rtol=1e-3, atol=1e-3)


def test_what_is_learnt_is_the_answer_and_its_end(
    opened: tuple[TaihriModel, Language], frames: Frames, trees: list[Tree]
) -> None:
    model, language = opened
    packed = packed_logits(model, language, frames, trees)[1]
    flat = packed.ids.flatten()
    assert torch.equal(flat[packed.where + 1][packed.answer_of >= 0][1:5], packed.targets[1:5])
    for number in range(6):
        own = packed.targets[packed.answer_of == number].tolist()
        assert own[-1] == language.codec.end and own[0] == language.codec.markers["box_start"]
        assert language.format.read(own).whole
    bins = torch.tensor(language.codec.bins)
    share = packed.shares[~packed.shares.isnan()]
    assert torch.equal(bins[(share * 999).round().long()], packed.targets[~packed.shares.isnan()])


@torch.no_grad()
def test_one_sequence_for_all_is_each_alone(
    opened: tuple[TaihriModel, Language], frames: Frames, trees: list[Tree]
) -> None:
    model, language = opened
    logits, packed = packed_logits(model, language, frames, trees)
    alone = []
    for index, tree in enumerate(trees):
        for branch in tree.branches:
            one = [Tree(tree.stem, (branch,))]
            alone.append(packed_logits(model, language, frames[index : index + 1], one)[0])
    torch.testing.assert_close(logits, torch.cat(alone), rtol=1e-4, atol=1e-4)
    stems = []
    for tree in trees:
        branch = tree.branches[0]
        stems.append(Tree((*tree.stem, *branch.context), (Branch((), branch.answer, branch.shares),)))
    other, _ = packed_logits(model, language, frames, stems)
    first = torch.isin(packed.answer_of, torch.tensor([0, 3]))
    torch.testing.assert_close(other, logits[first], rtol=1e-4, atol=1e-4)


def test_positions_leave_room_for_the_longer_side() -> None:
    positions, following = rope_positions([7, 8, 5, 5, 5, 5, 5, 5, 9], 5, 2, 3)
    assert positions.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5],
        [0, 1, 2, 2, 2, 3, 3, 3, 5],
        [0, 1, 2, 3, 4, 2, 3, 4, 5],
    ]
    assert following == 6


@torch.no_grad()
def test_decoding_with_a_cache_follows_the_packed_logits(
    opened: tuple[TaihriModel, Language], frames: Frames
) -> None:
    model, language = opened
    rows = model.see(patches_of(frames.pixels, language.view), SIZE[1], SIZE[0])
    joints = [20, 3]
    located = locate(model, language, rows, joints)
    question = language.asked([language.joints[joint] for joint in joints])
    numbers = torch.cat((located.box, located.xy.flatten(1), located.xyz.flatten(1)), dim=1)
    trees = []
    for index in range(2):
        box, xy, xyz = (each[index].tolist() for each in (located.box, located.xy, located.xyz))
        written = language.format.write(
            box, joints, dict(zip(joints, xy, strict=True)), dict(zip(joints, xyz, strict=True))
        )
        branch = Branch(language.suffix(question), written.ids, written.shares)
        trees.append(Tree(language.stem(tokens_of(language)), (branch,)))
    logits, packed = packed_logits(model, language, frames, trees)
    bins = torch.tensor(language.codec.bins)
    number = ~packed.shares.isnan()
    chosen = logits[number][:, bins].argmax(-1).view(2, -1) / 999
    torch.testing.assert_close(chosen, numbers)


def test_samples_follow_the_distribution(opened: tuple[TaihriModel, Language], frames: Frames) -> None:
    """Greedily, questions of different lengths side by side as each alone; sampled, the first tokens."""
    model, language = opened
    rows = model.see(patches_of(frames.pixels, language.view), SIZE[1], SIZE[0])
    questions = ["Please give the person a big hug.", "High five."]
    both = sample_answers(model, language, rows, questions, most=6, temperature=0)
    for index, question in enumerate(questions):
        alone = sample_answers(model, language, rows[index : index + 1], [question], most=6, temperature=0)
        assert alone == [both[index]]
    generator = torch.Generator().manual_seed(0)
    times = 400
    drawn = sample_answers(
        model, language, rows, questions, times=times, most=1, temperature=1.0, generator=generator
    )
    first = torch.tensor(drawn).view(2, times)
    stem = language.stem(tokens_of(language))
    trees = [
        Tree(stem + language.suffix(q), (Branch((), (language.codec.end,), (math.nan,)),)) for q in questions
    ]
    with torch.no_grad():
        shares = packed_logits(model, language, frames, trees)[0].softmax(-1)
    for index in range(2):
        best = int(shares[index].argmax())
        expected = float(shares[index, best])
        spread = math.sqrt(expected * (1 - expected) / times)
        assert abs(float((first[index] == best).float().mean()) - expected) < 5 * spread + 1e-9


def test_saved_checkpoints_have_the_published_layout(checkpoint: Path, tmp_path: Path) -> None:
    model, _ = open_model(checkpoint)
    saved = save_checkpoint(model, tmp_path / "saved", files=checkpoint, dtype="float16")
    weights = ModelWeights(open_checkpoint(saved), TAIHRI.architecture)
    assert set(weights) == {*model.state_dict(), "lm_head.weight"}
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(weights[name].float(), tensor, rtol=1e-3, atol=1e-3, msg=name)
    transformers = pytest.importorskip("transformers")
    loaded, report = transformers.AutoModelForImageTextToText.from_pretrained(
        saved, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.text_config.vocab_size == model.config.decoder.vocabulary


def test_the_bundle_asks_and_answers_like_the_model(
    checkpoint: Path, opened: tuple[TaihriModel, Language], tmp_path: Path
) -> None:
    """The whole way: export, the runtime's preprocessing of a camera's image, its prompt and its tokens."""
    pytest.importorskip("onnx")
    from edgepose import Camera, Localizer
    from edgepose.bundle import read_manifest
    from edgepose.export import export_bundle

    model, language = opened
    export_bundle(family="taihri", checkpoint=checkpoint, out=tmp_path / "bundle", precision="fp32")
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.frame is not None and manifest.frame.canonical_focal == 250.0
    localizer = Localizer(tmp_path / "bundle")
    rendered = render_dots(9, 1, width=320, height=240, focal=(400.0, 400.0), shift=0.04)
    frames = seen_frames(rendered, language.view, language.codec)
    height, width = frames.pixels.shape[1:3]
    with torch.no_grad():
        rows = model.see(patches_of(frames.pixels, language.view), height, width)
        joints = [16, 18, 20, 1]
        found = locate(model, language, rows, joints)
    names = [language.joints[joint] for joint in joints]
    cx, cy = (rendered.principal[0].double() + 0.5).tolist()
    camera = Camera(400.0, 400.0, cx, cy, 320, 240)
    (pose,) = localizer.locate(rendered.images[0].numpy(), keypoints=names, camera=camera)
    stem = language.stem(rows.embeddings.shape[1])
    assert pose.prompt_ids == stem + language.suffix(language.asked(names))
    box, xy, xyz = (each[0].tolist() for each in (found.box, found.xy, found.xyz))
    written = language.format.write(
        box, joints, dict(zip(joints, xy, strict=True)), dict(zip(joints, xyz, strict=True))
    )
    assert pose.token_ids == written.ids
    metres = frames.to_camera(found.xyz, language.codec)[0].numpy()
    np.testing.assert_allclose(np.stack([pose[name].xyz for name in names]), metres, atol=1e-5)
    command = "Please shake my hand."
    (pose,) = localizer.ask(rendered.images[0].numpy(), command, camera=camera)
    assert pose.prompt_ids == stem + language.suffix(command)


@pytest.mark.parametrize(("own", "focal"), [({"canonical_focal": 320}, 320.0), ({}, 1000.0), (None, 1000.0)])
def test_the_focal_length_is_the_checkpoints(
    checkpoint: Path, tmp_path: Path, own: Any, focal: float
) -> None:
    folder = changed_config(checkpoint, tmp_path / "changed", own)
    assert Language.open(folder).view.canonical_focal == focal
    for wrong in ({"canonical_focal": -1}, {"canonical_focal": "250"}, 250, {"canonical_focal": math.inf}):
        with pytest.raises(InvalidInputError, match="canonical_focal above 0"):
            Language.open(changed_config(checkpoint, tmp_path / "wrong", wrong))


def changed_config(checkpoint: Path, folder: Path, own: Any) -> Path:
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config.pop("edgepose")
    if own is not None:
        config["edgepose"] = own
    (folder / "config.json").write_text(json.dumps(config))
    return folder
