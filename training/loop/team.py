# SPDX-License-Identifier: Apache-2.0
"""Several processes of one machine that train the same model, each on batches of its own.

Where a few cores are shared with other programs, processes that meet once a step lose less than threads that
meet at every operation. What a step is belongs to the loop.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Team", "current_team", "start_team"]

_PATIENCE = 1800.0
"""Seconds after which a process that waits for the others gives up."""


class Team:
    """One process's view of all of them; number 0 logs, evaluates and saves."""

    def __init__(
        self, rank: int = 0, size: int = 1, barrier: Any = None, shared: Tensor | None = None
    ) -> None:
        """
        Args:
            rank: Number of this process.
            size: How many there are.
            barrier: Where they meet; None for one alone.
            shared: (size, capacity + 1) float32 in shared memory; None for one alone.
        """
        self.rank, self.size = rank, size
        self._barrier, self._shared = barrier, shared

    @property
    def leads(self) -> bool:
        """Whether this is number 0."""
        return self.rank == 0

    def wait(self) -> None:
        """Waits until all are here."""
        if self._barrier is not None:
            self._barrier.wait(_PATIENCE)

    def agree(self, value: float) -> float:
        """The value of number 0."""
        if self._shared is None:
            return value
        self._shared[self.rank, 0] = value
        self.wait()
        return float(self._shared[0, 0])

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces the gradients of all by their mean; number 0 and the others have the same parameters."""
        if self._shared is None:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._shared[self.rank, 1 : 1 + len(flat)] = flat.cpu()
        self.wait()
        mean = self._shared[:, 1 : 1 + len(flat)].mean(0).to(flat.device)
        self.wait()
        parts = torch.split(mean, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


_team = Team()


def current_team() -> Team:
    """The team this process belongs to; by itself if none was started."""
    return _team


@contextmanager
def start_team(size: int, capacity: int, work: Callable[..., object], *given: object) -> Iterator[Team]:
    """Starts the other processes; this one is number 0 until the end of the context.

    Args:
        size: Processes in all; with 1 nothing happens.
        capacity: Numbers that a model has at most.
        work: What the others run, a function of a module; they are stopped when the context ends.
        given: Its arguments.
    """
    global _team
    if size == 1:
        yield _team
        return
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(size)
    shared = torch.zeros(size, capacity + 1, dtype=torch.float32)
    shared.untyped_storage().share_memory_()
    threads = torch.get_num_threads()
    others = [
        context.Process(target=_join, args=(rank, size, barrier, shared, work, given), daemon=True)
        for rank in range(1, size)
    ]
    torch.set_num_threads(max(1, threads // size))
    for process in others:
        process.start()
    _team = Team(0, size, barrier, shared)
    try:
        yield _team
    finally:
        _team = Team()
        torch.set_num_threads(threads)
        for process in others:
            process.terminate()
            process.join()


def _join(
    rank: int, size: int, barrier: Any, shared: Tensor, work: Callable[..., object], given: tuple[object, ...]
) -> None:
    global _team
    torch.set_num_threads(max(1, torch.get_num_threads() // size))
    _team = Team(rank, size, barrier, shared)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work(*given)


def _end_with_parent() -> None:
    """Ends this process when number 0 is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
