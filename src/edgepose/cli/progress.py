# SPDX-License-Identifier: Apache-2.0
"""One line on a terminal that says how far a long command is.

It shows nothing in the first second, and nothing at all where stderr is not a terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

__all__ = ["ProgressLine"]

_CLEAR = "\r\x1b[2K"
_WIDTH = 30  # characters of the bar


class ProgressLine:
    """A `progress(stage, done, total)` callable; as a context manager it wipes its line when it ends.

    Args:
        stream: where to draw; None is stderr.
        delay: seconds before the first line.
        interval: seconds between two lines.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        delay: float = 1.0,
        interval: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._clock = clock
        self._interval = interval
        self._next = clock() + delay
        self._drawn = False
        # A stage that begins in the first second and then takes a minute must show, too.
        self._latest: tuple[str, int, int] | None = None
        self._timer = threading.Timer(delay + 0.1, self._draw_latest)
        self._timer.daemon = True

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._latest = stage, done, total
        now = self._clock()
        if not self._shown or now < self._next:
            return
        self._next = now + self._interval
        share = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
        full = round(share * _WIDTH)
        bar = "#" * full + "-" * (_WIDTH - full)
        self._stream.write(f"{_CLEAR}[{bar}] {share:4.0%} {stage}")
        self._stream.flush()
        self._drawn = True

    def _draw_latest(self) -> None:
        if self._latest is not None and not self._drawn:
            self(*self._latest)

    def __enter__(self) -> ProgressLine:
        if self._shown:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._drawn:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._drawn = False
