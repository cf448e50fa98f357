# SPDX-License-Identifier: Apache-2.0
"""Reinforcement fine-tuning: rewards of hand-made answers, the formulas, and a model whose rewards rise."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgepose.training.reinforcement.objective import (  # noqa: E402
    answer_means,
    clipped_objective,
    group_advantages,
    low_variance_kl,
)
from edgepose.training.reinforcement.rewards import Rewards, Truth, rewards_of  # noqa: E402
from edgepose.training.reinforcement.task import ReinforcementRecipe, ReinforcementTask  # noqa: E402
from edgepose.training.taihri.checkpoint import open_model  # noqa: E402
from edgepose.training.taihri.frames import Frames, seen_frames  # noqa: E402
from edgepose.training.taihri.language import Language  # noqa: E402
from edgepose.training.taihri.lessons import LessonMix  # noqa: E402
from edgepose.training.taihri.supervised import SupervisedRecipe, SupervisedTask  # noqa: E402

from .dot_people import render_dots  # noqa: E402
from .small_taihri import small_taihri  # noqa: E402

MIX = LessonMix(questions=4, commands=0.0, arms=1.0, most=1)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_taihri(tmp_path_factory.mktemp("taihri"))


@pytest.fixture(scope="module")
def language(start: Path) -> Language:
    return Language.open(start)


@pytest.fixture(scope="module")
def frames(language: Language) -> Frames:
    rendered = render_dots(0, 64, width=96, height=96, focal=(250.0, 250.0), distance=(1.5, 3.0))
    return seen_frames(rendered, language.view, language.codec)


def drawing(frames: Frames) -> object:
    def draw(count: int, generator: torch.Generator) -> Frames:
        return frames[torch.randint(len(frames), (count,), generator=generator)]

    return draw


@pytest.fixture(scope="module")
def taught(start: Path, frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After a few supervised steps: it knows the form, and no more."""
    recipe = SupervisedRecipe(frames=4, answered=4, mix=MIX, row_weight=0.0, spread=20.0)
    task = SupervisedTask("small", start, recipe, drawing(frames), [])
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=5e-3)
    for step in range(130):
        task.loss(task.batch(torch.Generator().manual_seed(step)))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    return task.save(tmp_path_factory.mktemp("taught"))


# Rewards.


TRUTH = Truth(
    joints=(20, 18),
    xy={20: (0.5, 0.5), 18: (0.25, 0.5)},  # type: ignore[arg-type]
    xyz={20: (0.5, 0.5, 0.4), 18: (0.5, 0.6, 0.4)},  # type: ignore[arg-type]
    size=(256.0, 192.0),
    ranges=(5.0, 5.0, 4.0),
)


def answer(
    language: Language, joints: tuple[int, ...], *, right: float = 0.0, deeper: float = 0.0
) -> list[int]:
    """An answer whose joints are that many pixels and metres off."""
    xy = {20: (0.5 + right / 256, 0.5), 18: (0.25 + right / 256, 0.5), 3: (0.1, 0.1)}
    xyz = {20: (0.5, 0.5, 0.4 + deeper / 4), 18: (0.5, 0.6, 0.4 + deeper / 4), 3: (0.1, 0.1, 0.1)}
    return list(language.format.write((0, 0, 1, 1), joints, xy, xyz).ids)


def test_rewards_of_hand_made_answers(language: Language) -> None:
    scales = Rewards(pixels=8.0, metres=0.1)

    def parts(ids: list[int]) -> dict[str, float]:
        return rewards_of(language.format.read(ids), TRUTH, scales)

    close = {"abs": 0.06}  # half a bin is 0.13 px and 2.5 mm
    assert parts(answer(language, (20, 18))) == pytest.approx(
        {"xy": 1, "xyz": 1, "form": 1, "joints": 1}, **close
    )
    off = parts(answer(language, (18, 20), right=8.0, deeper=0.2))
    assert off == pytest.approx({"xy": math.exp(-1), "xyz": math.exp(-2), "form": 1, "joints": 1}, **close)
    one = parts(answer(language, (20,)))
    assert one == pytest.approx({"xy": 0.5, "xyz": 0.5, "form": 1, "joints": 2 / 3}, **close)
    three = parts(answer(language, (20, 18, 3)))
    assert three == pytest.approx({"xy": 1, "xyz": 1, "form": 1, "joints": 0.8}, **close)
    wrong = parts(answer(language, (3,)))
    assert wrong == {"xy": 0.0, "xyz": 0.0, "form": 1.0, "joints": 0.0}
    cut = answer(language, (20, 18))[:-1]
    assert parts(cut) == pytest.approx({"xy": 1, "xyz": 1, "form": 0, "joints": 1}, **close)
    half = cut[: cut.index(language.codec.markers["kpt3d_start"])]
    assert parts(half) == pytest.approx({"xy": 1, "xyz": 0, "form": 0, "joints": 0}, **close)
    assert parts([]) == {"xy": 0.0, "xyz": 0.0, "form": 0.0, "joints": 0.0}
    weights = Rewards(xy=1.0, xyz=2.0, form=0.25, joints=0.5)
    assert weights.total({"xy": 0.5, "xyz": 0.25, "form": 1.0, "joints": 0.8}) == pytest.approx(1.65)


# Formulas.


def test_advantages_are_standard_scores_within_a_group() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]])
    found = group_advantages(rewards, eps=0.0 + 1e-8)
    deviation = math.sqrt((4 + 1 + 0 + 9) / 4)
    torch.testing.assert_close(found[0], torch.tensor([-2.0, -1.0, 0.0, 3.0]) / deviation)
    assert torch.equal(found[1], torch.zeros(4))


def test_the_estimate_of_the_divergence_is_unbiased_and_never_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    policy, reference = (
        torch.distributions.Categorical(logits=torch.randn(20, generator=generator)) for _ in range(2)
    )
    tokens = torch.arange(20)
    each = low_variance_kl(policy.log_prob(tokens), reference.log_prob(tokens))
    assert (each >= 0).all()
    expected = torch.distributions.kl_divergence(policy, reference)
    torch.testing.assert_close((policy.probs * each).sum(), expected)
    assert torch.equal(low_variance_kl(each, each), torch.zeros(20))
    plain = policy.log_prob(tokens) - reference.log_prob(tokens)
    near = torch.distributions.Categorical(logits=policy.logits + 0.1 * torch.randn(20, generator=generator))
    plain = policy.log_prob(tokens) - near.log_prob(tokens)
    low = low_variance_kl(policy.log_prob(tokens), near.log_prob(tokens))

    def variance(values: torch.Tensor) -> float:
        mean = (policy.probs * values).sum()
        return float((policy.probs * (values - mean) ** 2).sum())

    assert variance(low) < 0.1 * variance(plain)


def test_the_ratio_stops_to_count_where_it_is_clipped() -> None:
    old = torch.zeros(6)
    logs = torch.tensor([0.0, 0.1, 0.5, -0.5, 0.5, -0.5], requires_grad=True)
    advantages = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    gain, ratio = clipped_objective(logs, old, advantages, clip=0.2)
    torch.testing.assert_close(ratio, logs.exp())
    expected = [1.0, math.exp(0.1), 1.2, math.exp(-0.5), -math.exp(0.5), -0.8]
    torch.testing.assert_close(gain, torch.tensor(expected))
    gain.sum().backward()
    assert logs.grad is not None
    assert (logs.grad == 0).tolist() == [False, False, True, False, False, True]


def test_every_answer_counts_alike() -> None:
    values, of = torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 1])
    assert answer_means(values, of, 2).tolist() == [2.0, 10.0]


# The task.


def make_task(taught: Path, frames: Frames, **changes: object) -> ReinforcementTask:
    recipe = dataclasses.replace(ReinforcementRecipe(questions=3, answers=6, mix=MIX), **changes)
    return ReinforcementTask("small", taught, recipe, drawing(frames), [frames])


def test_the_first_step_is_on_policy(taught: Path, frames: Frames) -> None:
    task = make_task(taught, frames, inner=3)
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.05)
    batches, kls, gains = [], [], []
    for step in range(4):
        batch = task.batch(torch.Generator().manual_seed(step))
        fresh = batch.old is None
        parts = task.loss(batch)
        assert batch.old is not None
        with torch.no_grad():
            logs = task._logs(task.pose, batch)
        _, ratio = clipped_objective(logs, batch.old, batch.advantages[batch.packed.answer_of], clip=0.2)
        if fresh:
            torch.testing.assert_close(ratio, torch.ones_like(ratio))
            assert float(parts["clipped"]) == 0
        else:
            assert float((ratio - 1).abs().max()) > 1e-4
        parts["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        batches.append(batch)
        kls.append(float(parts["kl"].detach()))
        gains.append(float(parts["loss"].detach()))
    assert batches[0] is batches[1] is batches[2] is not batches[3]
    assert kls[0] == pytest.approx(0, abs=1e-6) and kls[2] > 1e-6
    assert gains[2] < gains[0]  # the same answers again: the good ones have become more likely


def test_rollouts_are_what_the_policy_says(taught: Path, frames: Frames) -> None:
    task = make_task(taught, frames)
    batch, again = (task.batch(torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(batch.packed.ids, again.packed.ids)
    assert len(batch.advantages) == 18 and batch.packed.answer_of.max() == 17
    torch.testing.assert_close(batch.advantages.view(3, 6).mean(1), torch.zeros(3), rtol=0, atol=1e-5)
    assert set(batch.rewards) == {"reward", "reward_xy", "reward_xyz", "reward_form", "reward_joints"}
    ends = [batch.packed.targets[batch.packed.answer_of == number].tolist() for number in range(18)]
    assert any(answer[-1] == task.language.codec.end for answer in ends)
    assert len({tuple(answer) for answer in ends}) > 9


def test_rewards_rise(taught: Path, frames: Frames, tmp_path: Path) -> None:
    rewards = Rewards(xy=0.0, xyz=0.0, form=1.0, joints=1.0)
    task = make_task(taught, frames, rewards=rewards, kl=0.0)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-3)
    log = []
    for step in range(40):
        parts = task.loss(task.batch(torch.Generator().manual_seed(step)))
        parts["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        log.append(float(parts["reward"]))
    assert sum(log[-10:]) > 1.1 * sum(log[:10])
    found = task.evaluate()
    assert {"mpjpe_arms", "reward_xyz", "reward_form", "reward_joints"} <= set(found)
    saved = task.save(tmp_path / "saved")
    state = open_model(saved)[0].state_dict()
    for name, value in task.model.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-3)
    other = make_task(taught, frames)
    other.load(saved)
    assert torch.equal(other.model.state_dict()["decoder.norm.weight"], state["decoder.norm.weight"])
