# SPDX-License-Identifier: Apache-2.0
"""The training loop: budgets, learning rates, logs, and runs that go on where they stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from torch import Tensor, nn  # noqa: E402

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.training.loop import Schedule, TrainingLog, train  # noqa: E402


class Line:
    """Fits a line."""

    def __init__(self, name: str = "line") -> None:
        self.name = name
        torch.manual_seed(0)
        self.model: nn.Module = nn.Linear(3, 1)
        self.saved = 0
        self.broken = False

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(8, 3, generator=generator)
        return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3.0

    def loss(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        error = (self.model(batch[0]) - batch[1]).square().mean()
        return {"loss": error * (float("nan") if self.broken else 1.0), "samples": torch.tensor(8)}

    def evaluate(self) -> dict[str, float]:
        assert not self.model.training
        weight: Any = self.model.weight
        return {"first": float(weight[0, 0])}

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "line.pt")
        self.saved += 1
        return folder

    def load(self, folder: Path) -> None:
        self.model.load_state_dict(torch.load(folder / "line.pt"))


def schedule(**changes: Any) -> Schedule:
    given = {"steps": 40, "learning_rate": 0.1, "log_every": 4, "evaluate_every": 0.25, "save_every": 0.25}
    return Schedule(**{**given, "precision": "float32", "weight_decay": 0.0, **changes})


def without_clock(log: TrainingLog) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log.rows]


def test_the_loss_falls_and_everything_is_written(tmp_path: Path) -> None:
    task, calls = Line(), []
    log = train(task, tmp_path, schedule(steps=120), progress=lambda *call: calls.append(call))
    steps, values = log.series("train")["loss"]
    assert steps[-1] == 120 and values[-1] < 0.1 * values[0]
    assert calls[-1] == ("line, step 120", 1000, 1000)
    assert log.rows[-1]["samples"] == 120 * 8
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == log.rows
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "checkpoint" / "line.pt").is_file() and task.saved == 4
    assert len(log.series("evaluation")["first"][0]) == 4


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, average: float | None) -> None:
    whole = Line()
    expected = train(whole, tmp_path / "whole", schedule(ema=average, accumulate=2))

    class Stopped(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if done > 600:  # between two savings
            raise Stopped

    with pytest.raises(Stopped):
        train(Line(), tmp_path / "parts", schedule(ema=average, accumulate=2), progress=stop)
    again = Line()
    log = train(again, tmp_path / "parts", schedule(ema=average, accumulate=2))
    assert without_clock(log) == without_clock(expected)
    lines = (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == log.rows
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    train(Line(), tmp_path, schedule())
    before = (tmp_path / "state.pt").read_bytes()
    assert train(Line(), tmp_path, schedule()).rows[-1]["step"] == 40
    assert (tmp_path / "state.pt").read_bytes() == before


def test_without_resuming_a_run_begins_anew(tmp_path: Path) -> None:
    train(Line(), tmp_path, schedule())
    log = train(Line(), tmp_path, schedule(steps=8), resume=False)
    assert log.rows[-1]["step"] == 8


def test_averaged_weights_are_what_is_saved(tmp_path: Path) -> None:
    task, other = Line(), Line()
    train(task, tmp_path, schedule(ema=0.9))
    other.load(tmp_path / "checkpoint")
    assert not torch.equal(task.model.weight, other.model.weight)
    assert torch.allclose(task.model.weight, other.model.weight, atol=0.3)


def test_learning_rate_ends_with_the_budget() -> None:
    plan = schedule(warmup=0.1, cooldown=0.4)
    assert plan.rate(0.0) == pytest.approx(0.1 * 0.02 / 1.02)
    assert plan.rate(0.1) == plan.rate(0.6) == pytest.approx(0.1)
    assert plan.rate(0.8) == pytest.approx(0.05)
    assert plan.rate(1.0) == plan.rate(1.2) == 0.0
    assert schedule(decay="cosine", cooldown=0.4).rate(0.8) == pytest.approx(0.05)


def test_whichever_budget_is_spent_first_ends_a_run(tmp_path: Path) -> None:
    both = schedule(seconds=100.0)
    assert both.spent(20, 10.0) == 0.5
    assert both.spent(20, 80.0) == 0.8
    log = train(Line(), tmp_path, Schedule(seconds=0.05, learning_rate=0.1, precision="float32"))
    assert log.rows[-1]["seconds"] < 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "a budget above 0"),
        ({"steps": 0}, "a budget above 0"),
        ({"warmup": 0.7, "cooldown": 0.4}, "together at most 1; got 0.7"),
        ({"save_every": 0.0}, "save_every=0.0"),
        ({"ema": 1.0}, "ema=1.0"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_impossible_schedules_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        schedule(**changes)


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    train(Line(), tmp_path, schedule())
    with pytest.raises(InvalidInputError, match="'line' with seed 0"):
        train(Line(), tmp_path, schedule(seed=1))
    with pytest.raises(InvalidInputError, match="of task 'other'"):
        train(Line("other"), tmp_path, schedule())


def test_a_broken_state_or_log_is_refused(tmp_path: Path) -> None:
    train(Line(), tmp_path, schedule())
    (tmp_path / "log.jsonl").write_text("{\n")
    with pytest.raises(InvalidInputError, match="in line 1"):
        train(Line(), tmp_path, schedule())
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(InvalidInputError, match="to be the state of a run"):
        train(Line(), tmp_path, schedule())


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    task = Line()
    task.broken = True
    with pytest.raises(InvalidInputError, match="finite loss; got nan at step 0"):
        train(task, tmp_path, schedule())


def train_along(out: Path) -> None:
    torch.set_num_threads(1)
    train(Line(), out, schedule())


def test_a_team_trains_as_one_with_all_its_batches(tmp_path: Path) -> None:
    from edgepose.training.loop import current_team, start_team

    alone = Line()
    expected = train(alone, tmp_path / "alone", schedule(accumulate=2))
    together = Line()
    with start_team(2, 100, train_along, tmp_path / "together"):
        log = train(together, tmp_path / "together", schedule())
    assert current_team().size == 1
    assert [row["samples"] for row in log.rows] == [row["samples"] for row in expected.rows]
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(together.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
