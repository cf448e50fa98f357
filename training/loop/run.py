# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps of AdamW within a budget, logged, evaluated, saved, and resumed where it stopped.

What is trained on what belongs to the tasks.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepose.errors import InvalidInputError
from edgepose.training.loop.record import TrainingLog, draw_curves, load_state, save_state
from edgepose.training.loop.schedule import Schedule
from edgepose.training.loop.task import Task
from edgepose.training.loop.team import current_team

__all__ = ["CHECKPOINT", "LOG_FILE", "STATE_FILE", "step_generator", "train"]

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
CURVES_FILE = "curves.png"
CHECKPOINT = "checkpoint"


def step_generator(seed: int, step: int, part: int = 0) -> torch.Generator:
    """The generator of one batch: it depends on nothing but these numbers."""
    mixed = np.random.SeedSequence([seed, step, part]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(mixed[0]) << 31 ^ int(mixed[1]))


def train(
    task: Task,
    out: Path,
    schedule: Schedule,
    *,
    device: str | torch.device = "cpu",
    resume: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> TrainingLog:
    """Trains a task until its budget is spent.

    Args:
        task: What to train.
        out: Directory for `log.jsonl`, `state.pt`, `curves.png` and the `checkpoint`.
        schedule: Budget, learning rate and the rest.
        device: Where to compute.
        resume: Whether to go on from the state in `out`; otherwise a run there begins anew.
        progress: Called after each step with the stage, permille of the budget spent, and 1000.

    Returns:
        The log, lines of the earlier run included.

    Raises:
        InvalidInputError: The state in `out` belongs to another task or another seed, or the loss is no
            longer a number.
    """
    run = _Run(task, Path(out), schedule, torch.device(device))
    run.begin(resume)
    while not run.ended:
        run.step()
        if progress is not None and current_team().leads:
            progress(f"{task.name}, step {run.done}", min(1000, round(1000 * run.spent)), 1000)
        run.look_up()
    current_team().wait()
    return run.log


class _Run:
    def __init__(self, task: Task, out: Path, schedule: Schedule, device: torch.device) -> None:
        self._task, self._out, self._schedule, self._device = task, out, schedule, device
        task.model.to(device).train()
        self._optimizer = torch.optim.AdamW(
            _groups(task.model, schedule.weight_decay),
            lr=schedule.learning_rate,
            betas=schedule.betas,
            fused=True,
        )
        self._average = _Average(task.model, schedule.ema) if schedule.ema is not None else None
        self._precision = _autocast(schedule.precision, device)
        self._team = current_team()
        self.done = 0
        self._samples = 0
        self._earlier = 0.0
        self._started = time.monotonic()
        self._sums: dict[str, float] = {}
        self._summed = 0

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    @property
    def spent(self) -> float:
        return self._schedule.spent(self.done, self.seconds)

    def begin(self, resume: bool) -> None:
        state = load_state(self._out / STATE_FILE) if resume else None
        if state is not None:
            named = (state["task"], state["seed"])
            if named != (self._task.name, self._schedule.seed):
                raise InvalidInputError(
                    f"[training] expected the state in {self._out} to be of task {self._task.name!r} with "
                    f"seed {self._schedule.seed}; got {named[0]!r} with seed {named[1]}; train into another "
                    "directory, or begin anew without resuming"
                )
            self._task.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._average is not None and state["average"] is not None:
                self._average.load(state["average"])
            self.done, self._samples, self._earlier = state["step"], state["samples"], state["seconds"]
            self._sums, self._summed = state["sums"], state["summed"]
        log = self._out / LOG_FILE
        self.log = TrainingLog.open(log, step=self.done) if self._team.leads else TrainingLog(log)
        self._started = time.monotonic()
        self._evaluated = self._saved = self._agreed = self._team.agree(self.spent)
        self.ended = self._saved >= 1.0

    def step(self) -> None:
        schedule, rate = self._schedule, self._schedule.rate(self._agreed)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for part in range(schedule.accumulate):
            draw = part * self._team.size + self._team.rank
            batch = self._task.batch(step_generator(schedule.seed, self.done, draw))
            with self._precision():
                parts = self._task.loss(batch)
            samples = parts.pop("samples", None)
            torch.autograd.backward(parts["loss"] / schedule.accumulate)
            self._samples += 0 if samples is None else int(samples) * self._team.size
            self._note(parts)
        self._team.average(self._task.model.parameters())
        if schedule.clip is not None:
            norm = nn.utils.clip_grad_norm_(self._task.model.parameters(), schedule.clip)
            self._note({"norm": norm}, count=False)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update(self._task.model, self.done)
        self.done += 1
        self._rate = rate

    def look_up(self) -> None:
        """Logs, evaluates and saves where it is time to."""
        schedule, spent = self._schedule, self._team.agree(self.spent)
        self._agreed, self.ended = spent, spent >= 1.0
        if not self._team.leads:
            return
        ended = self.ended
        evaluate = _crossed(self._evaluated, spent, schedule.evaluate_every)
        save = ended or _crossed(self._saved, spent, schedule.save_every)
        row: dict[str, Any] = {}
        if self.done % schedule.log_every == 0 or ended:
            row["train"] = self._means()
        if evaluate or (ended and schedule.evaluate_every > 0):
            self._evaluated = spent
            with self._averaged():
                row["evaluation"] = self._evaluate()
        if row:
            counted = {"step": self.done, "seconds": round(self.seconds, 1), "samples": self._samples}
            self.log.add({**counted, "lr": self._rate, **row})
        if save:
            self._saved = spent
            self._save()

    def _note(self, parts: dict[str, Tensor], *, count: bool = True) -> None:
        for name, value in parts.items():
            number = float(value.detach())
            if name == "loss" and not math.isfinite(number):
                raise InvalidInputError(
                    f"[training] expected a finite loss; got {number} at step {self.done} of "
                    f"{self._task.name}; resume from {self._out / STATE_FILE} with a lower learning rate"
                )
            self._sums[name] = self._sums.get(name, 0.0) + number
        self._summed += int(count)

    def _means(self) -> dict[str, float]:
        means = {name: round(value / max(1, self._summed), 5) for name, value in self._sums.items()}
        self._sums, self._summed = {}, 0
        return means

    def _evaluate(self) -> dict[str, float]:
        self._task.model.eval()
        with torch.no_grad(), self._precision():
            found = {name: round(float(value), 5) for name, value in self._task.evaluate().items()}
        self._task.model.train()
        return found

    def _save(self) -> None:
        save_state(
            self._out / STATE_FILE,
            {
                "task": self._task.name,
                "seed": self._schedule.seed,
                "step": self.done,
                "samples": self._samples,
                "seconds": self.seconds,
                "sums": self._sums,
                "summed": self._summed,
                "model": self._task.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "average": None if self._average is None else self._average.weights,
            },
        )
        with self._averaged():
            self._task.save(self._out / CHECKPOINT)
        draw_curves(self.log, self._out / CURVES_FILE, title=self._task.name)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Puts the averaged weights in the place of the others for a while."""
        if self._average is None:
            yield
            return
        kept = {name: value.clone() for name, value in self._task.model.state_dict().items()}
        self._task.model.load_state_dict(self._average.weights)
        try:
            yield
        finally:
            self._task.model.load_state_dict(kept)


class _Average:
    """A moving average of the weights that forgets its beginning quickly."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def load(self, weights: dict[str, Tensor]) -> None:
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay, everything else without."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.dim() in (2, 4) and id(parameter) not in tables
        (matrices if decays else rest).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _autocast(precision: str, device: torch.device) -> Callable[[], Any]:
    if precision == "auto":
        fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        precision = "bfloat16" if fast else "float32"
    if precision == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def _crossed(before: float, now: float, every: float) -> bool:
    return every > 0 and math.floor(now / every + 1e-9) > math.floor(before / every + 1e-9)
