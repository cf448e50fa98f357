# SPDX-License-Identifier: Apache-2.0
"""Supervised training of the 3-D model on people of dots: it learns, and its head is thrown away."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgepose.export.models.qwen3_vl import GridVisionConfig  # noqa: E402
from edgepose.training.taihri import supervised  # noqa: E402
from edgepose.training.taihri.checkpoint import open_model  # noqa: E402
from edgepose.training.taihri.decoding import Located  # noqa: E402
from edgepose.training.taihri.frames import Frames, grid_places, seen_frames  # noqa: E402
from edgepose.training.taihri.initial import bin_table, cosine_patches, place_table  # noqa: E402
from edgepose.training.taihri.language import Language  # noqa: E402
from edgepose.training.taihri.lessons import LessonMix, draw_trees  # noqa: E402
from edgepose.training.taihri.packing import pack  # noqa: E402
from edgepose.training.taihri.row_head import spread_over_cells  # noqa: E402
from edgepose.training.taihri.supervised import (  # noqa: E402
    SupervisedRecipe,
    SupervisedTask,
    answer_loss,
    evaluate_arms,
    joints_of,
)

from .dot_people import render_dots  # noqa: E402
from .small_taihri import small_taihri  # noqa: E402

RECIPE = SupervisedRecipe(frames=4, answered=2, mix=LessonMix(questions=2, most=3))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_taihri(tmp_path_factory.mktemp("taihri"))


@pytest.fixture(scope="module")
def frames(start: Path) -> Frames:
    language = Language.open(start)
    rendered = render_dots(0, 8, width=128, height=96, focal=(250.0, 250.0), distance=(1.5, 2.5))
    return seen_frames(rendered, language.view, language.codec)


def make_task(start: Path, frames: Frames, recipe: SupervisedRecipe = RECIPE) -> SupervisedTask:
    def draw(count: int, generator: torch.Generator) -> Frames:
        return frames[torch.randint(len(frames), (count,), generator=generator)]

    return SupervisedTask("small", start, recipe, draw, [frames])


def run(task: SupervisedTask, steps: int, rate: float = 3e-3) -> list[dict[str, float]]:
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=rate)
    log = []
    for step in range(steps):
        parts = task.loss(task.batch(torch.Generator().manual_seed(step)))
        parts["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        log.append({name: float(value.detach()) for name, value in parts.items()})
    return log


def test_losses_fall(start: Path, frames: Frames) -> None:
    task = make_task(start, frames)
    log = run(task, 40)
    assert log[0]["samples"] == 4
    for name, factor in (
        ("words", 0.6),
        ("numbers", 0.95),
        ("rows", 0.9),
        ("pointer", 0.95),
        ("own place", 0.95),
    ):
        first, last = (sum(row[name] for row in some) / 5 for some in (log[:5], log[-5:]))
        assert last < factor * first, name
    found = task.evaluate()
    assert set(found) == {
        "mpjpe_arms",
        "mpjpe_upper_body",
        "mpjpe_arms_expected",
        "mpjpe_upper_body_expected",
        "xy_arms",
        "rows_upper_body",
    }
    assert all(0 < value < 1000 for value in found.values())


def test_batches_come_from_their_generator(start: Path, frames: Frames) -> None:
    task = make_task(start, frames)
    first, again, other = (task.batch(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.patches, again.patches) and not torch.equal(first.patches, other.patches)
    assert first.packed is not None and again.packed is not None
    assert torch.equal(first.packed.ids, again.packed.ids)


def test_the_encoder_can_be_taught_alone(start: Path, frames: Frames) -> None:
    task = make_task(start, frames, SupervisedRecipe(frames=8, answered=0))
    log = run(task, 40)
    assert log[-1]["row_map"] < log[0]["row_map"] and log[-1]["row_metres"] < 0.8 * log[0]["row_metres"]
    assert set(task.evaluate()) == {"rows_upper_body"}
    assert all(p.grad is None for p in task.pose.decoder.layers.parameters())


def test_saving_and_loading_keeps_model_and_head(start: Path, frames: Frames, tmp_path: Path) -> None:
    task = make_task(start, frames)
    run(task, 2)
    saved = task.save(tmp_path / "saved")
    other = make_task(saved, frames)
    loaded = make_task(start, frames)
    loaded.load(saved)
    for name, value in task.model.state_dict().items():
        for found in (other, loaded):
            torch.testing.assert_close(found.model.state_dict()[name], value, rtol=1e-3, atol=1e-3, msg=name)


def test_spread_targets_are_the_cross_entropy_with_a_bell(start: Path, frames: Frames) -> None:
    language = Language.open(start)
    trees = draw_trees(frames[:1], 12, language, RECIPE.mix, torch.Generator().manual_seed(0))
    packed = pack(trees, image_token=language.image_token, rows=3, columns=4, pad=language.codec.pad)
    generator = torch.Generator().manual_seed(1)
    count = int(language.codec.end) + 1100
    logits = torch.randn(len(packed.where), count, generator=generator)
    number = ~packed.shares.isnan()
    bins = torch.tensor(language.codec.bins)
    aim = torch.zeros(int(number.sum()), count)
    for line, share in enumerate(packed.shares[number].tolist()):
        bell = torch.distributions.Normal(share * 999, 3.0).log_prob(torch.arange(1000.0)).exp()
        aim[line, bins] = bell / bell.sum()
    expected = torch.nn.functional.cross_entropy(logits[number], aim)
    found = answer_loss(logits, packed, language, spread=3.0)
    torch.testing.assert_close(found["numbers"], expected)
    narrow, one = (answer_loss(logits, packed, language, spread=spread) for spread in (0.05, 0.0))
    torch.testing.assert_close(narrow["numbers"], one["numbers"], rtol=1e-2, atol=1e-2)
    assert found["words"] == one["words"]


def test_numbers_belong_to_the_joint_before_them(start: Path, frames: Frames) -> None:
    language = Language.open(start)
    trees = draw_trees(frames[:2], 12, language, RECIPE.mix, torch.Generator().manual_seed(0))
    packed = pack(trees, image_token=language.image_token, rows=3, columns=4, pad=language.codec.pad)
    found, expected = joints_of(packed, language).tolist(), []
    for branch in (branch for tree in trees for branch in tree.branches):
        name = -1
        for token, share in zip(branch.answer, branch.shares, strict=True):
            if share != share:
                name = language.format.joints.index(token) if token in language.format.joints else -1
            expected.append(name if share == share else -1)
    assert found == expected and {-1} < set(found)


def test_joints_that_cannot_be_answered_are_never_asked(start: Path, frames: Frames) -> None:
    language = Language.open(start)
    some = dataclasses.replace(frames[:2], visible=frames.visible[:2].clone())
    some.visible[0] = 0
    some.visible[1, 6:] = 0
    trees = draw_trees(some, 12, language, LessonMix(questions=20), torch.Generator().manual_seed(0))
    assert trees[0].branches == () and len(trees[1].branches) == 20
    for branch in trees[1].branches:
        read = language.format.read(branch.answer)
        assert read.whole and read.xy and set(read.xy) <= set(range(6))


def test_validation_measures_in_the_cameras_coordinates(start: Path, frames: Frames) -> None:
    """With a model that says the right bins, what is left is rounding."""
    model, language = open_model(start)
    arms = [
        language.joints.index(n)
        for n in ("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist")
    ]

    def right(*_: object) -> Located:
        xyz = (frames.xyz[:, arms] * 999).round() / 999
        return Located(frames.box, frames.xy[:, arms], xyz, frames.xyz[:, arms])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "locate", right)
        found = evaluate_arms(model, language, [frames])
    assert 0.5e-3 < found["mpjpe_arms"] < 3.5e-3 and found["mpjpe_arms_expected"] < 1e-6
    assert found["xy_arms"] < 1e-5


def test_places_are_shared_among_the_cells_around(frames: Frames) -> None:
    shares = spread_over_cells(frames.xy.clamp(0.2, 0.8), 3, 4)
    torch.testing.assert_close(shares.sum(-1), torch.ones(len(frames), 22))
    y, x = torch.meshgrid((torch.arange(3) + 0.5) / 3, (torch.arange(4) + 0.5) / 4, indexing="ij")
    centres = torch.stack((x, y), dim=-1).flatten(0, 1)
    torch.testing.assert_close(shares @ centres, frames.xy.clamp(0.2, 0.8), rtol=0, atol=1e-5)


def test_first_weights_are_waves() -> None:
    config = GridVisionConfig(8, 2, 32, 2, 2, 64, 6, 1e4, (0,))
    patches = cosine_patches(config)
    assert patches.shape == (32, 192)
    products = torch.nn.functional.normalize(patches, dim=1) @ torch.nn.functional.normalize(patches, dim=1).T
    torch.testing.assert_close(products, torch.eye(32), rtol=0, atol=1e-4)
    assert place_table(6, 32).shape == (36, 32)
    table = bin_table(100, 32, torch.Generator().manual_seed(0))
    near, far = ((table[50] * table[other]).sum() for other in (51, 90))
    assert near > 2 * far.abs()


def test_first_attention_looks_at_neighbours(start: Path) -> None:
    """By the runtime's rotary positions, in the middle of a grid, without regard to what is there."""
    model, language = open_model(start)
    encoder = model.vision
    places = grid_places(64, 64, language.view, table_side=8, head_dim=16, theta=1e4)
    rows, columns = torch.from_numpy(
        np.indices((4, 4)).reshape(2, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(2, 16)
    )
    middle = int(((rows == 2) & (columns == 1)).nonzero()[0])
    for block in encoder.blocks:
        bias = block.attn.qkv.bias.detach().view(3, 2, 16)
        assert not bias[:, 0].any() and not bias[2].any()
        left, right = bias[:2, 1].chunk(2, dim=-1)
        turned = bias[:2, 1, None] * places.cos + torch.cat((-right, left), dim=-1)[:, None] * places.sin
        best = int((turned[0, middle] @ turned[1].T).argmax())
        assert max(abs(int(rows[best]) - 2), abs(int(columns[best]) - 1)) <= 1
