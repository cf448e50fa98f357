# SPDX-License-Identifier: Apache-2.0
"""A compiler's nested phases as one share of the whole.

How a share is shown does not belong here: see `edgepose.cli.progress`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["monitor_of"]


@functools.cache
def monitor_of(trt: Any) -> Any:
    """The class of progress monitors of one library, made from `progress(done, total)`.

    A monitor stops the compiler where `progress` raises, and keeps the exception in `failure`.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self, progress: Callable[[int, int], None]) -> None:
            trt.IProgressMonitor.__init__(self)
            self._progress = progress
            self._phases: dict[str, tuple[str | None, int, int]] = {}
            self._shown = -1
            self.failure: BaseException | None = None

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._phases[name] = (parent, steps, 0)

        def phase_finish(self, name: str) -> None:
            self._phases.pop(name, None)

        def step_complete(self, name: str, step: int) -> bool:
            if name in self._phases:
                parent, steps, _ = self._phases[name]
                self._phases[name] = (parent, steps, step + 1)
            return self._show()

        def _show(self) -> bool:
            share, width = 0.0, 1.0
            for _, steps, done in self._phases.values():  # outermost first
                share += width * done / max(1, steps)
                width /= max(1, steps)
            now = min(999, int(1000 * share))
            if now > self._shown:
                self._shown = now
                try:
                    self._progress(now, 1000)
                except BaseException as error:  # must not pass through the library
                    self.failure = error
                    return False
            return True

    return Monitor
