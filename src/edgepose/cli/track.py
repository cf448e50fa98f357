# SPDX-License-Identifier: Apache-2.0
"""`edgepose track`: keypoints of people frame by frame, as lines of JSON, a clip and a summary."""

from __future__ import annotations

import contextlib
import itertools
import json
import operator
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import click

from edgepose.cli.answering import Answering, clip_options, readable_scale
from edgepose.cli.failures import Failure
from edgepose.cli.output import STDOUT
from edgepose.cli.progress import ProgressLine
from edgepose.cli.selection import Selection, selection_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgepose.results import Localization
    from edgepose.video import FrameReader

__all__ = ["track"]


@click.command(short_help="Locate keypoints of people in a video, frame by frame.")
@click.argument("source", metavar="VIDEO|FOLDER|CAMERA")
@selection_options
@click.option("--command", metavar="TEXT", help="Ask this of each frame, instead of keypoints by name.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after so many frames.")
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), help="Speed of the clip. Default: the source's."
)
@clip_options
def track(
    shared: Answering,
    source: str,
    selection: Selection,
    command: str | None,
    limit: int | None,
    fps: float | None,
) -> None:
    """Locate keypoints of people in each frame of a video file, a folder of images or a camera (0, 1, ...).

    Boxes are those of the first frame; later ones follow the keypoints. Each answer is a draft of the next
    frame's, which changes no token and saves time where little moves. Ctrl-C ends a camera.
    """
    asked = None if command is not None else selection.asked()
    if command is not None and (selection.boxes or selection.keypoints or selection.descriptions):
        raise click.BadParameter(
            "given beside --box, --keypoints or --describe; name one or the other", param_hint="--command"
        )

    from edgepose.video import FrameReader

    summary = _Summary()
    with FrameReader(int(source) if source.isdigit() else source) as reader, contextlib.ExitStack() as stack:
        width, height = reader.size
        camera = shared.read_camera(width, height)
        frames = _Kept(reader, limit)
        progress = stack.enter_context(ProgressLine())
        localizer = shared.open(progress)
        boxes = None if command is not None else selection.boxes_for(localizer, width, height)
        outputs = [stack.enter_context(output) for output in _outputs(shared, reader, fps)]
        with contextlib.suppress(KeyboardInterrupt):
            for located in localizer.track(
                frames, boxes=boxes, keypoints=asked, camera=camera, command=command, progress=progress
            ):
                for write in outputs:
                    write(summary.frames, frames.last, located)
                summary.add(located)
    if summary.frames == 0:
        raise Failure(f"[frames] expected at least one frame; got none from {source!r}; check the file")
    click.echo(str(summary), err=shared.json_file == STDOUT)


class _Kept:
    """Frames, of which the last one is kept for drawing."""

    def __init__(self, reader: FrameReader, limit: int | None) -> None:
        self._reader = reader
        self._limit = limit
        self.last: NDArray[np.uint8]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for frame in itertools.islice(self._reader, self._limit):
            self.last = frame
            yield frame

    def __length_hint__(self) -> int:
        count = operator.length_hint(self._reader)
        return count if self._limit is None else min(count or self._limit, self._limit)


_Write = Callable[[int, "NDArray[np.uint8]", "Localization"], None]


def _outputs(
    shared: Answering, reader: FrameReader, fps: float | None
) -> Iterator[contextlib.AbstractContextManager[_Write]]:
    if shared.json_file is not None:
        yield _lines(shared.json_file, reader.fps, shared.trace)
    if shared.drawing is not None:
        yield _clip(shared.drawing, reader, fps)


@contextlib.contextmanager
def _lines(file: str, fps: float, trace: bool) -> Iterator[_Write]:
    def write(number: int, frame: NDArray[np.uint8], located: Localization) -> None:
        value = {
            "frame": number,
            "seconds": round(number / fps, 6),
            **located.to_json(trace=trace),
            "drafts": located.drafts.to_json(),
        }
        stream.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
        stream.flush()

    stream: TextIO
    if file == STDOUT:
        stream = sys.stdout
        yield write
        return
    try:
        opened = open(file, "w", encoding="utf-8")
    except OSError as error:
        raise Failure(f"[write] expected to write {file!r}; got: {error}; choose another file") from error
    with opened as stream:
        yield write


@contextlib.contextmanager
def _clip(file: str, reader: FrameReader, fps: float | None) -> Iterator[_Write]:
    from edgepose.video import ClipWriter

    width, height = reader.size
    scale = readable_scale((width, height))
    with ClipWriter(file, (width * scale, height * scale), fps or reader.fps) as clip:
        yield lambda number, frame, located: clip.write(located.draw(frame, scale=scale))


class _Summary:
    """What all frames cost together."""

    def __init__(self) -> None:
        from edgepose.results import Drafts, Passes

        self.frames = 0
        self._people = 0
        self._passes, self._drafts = Passes(), Drafts()
        self._ms: list[float] = []

    def add(self, located: Localization) -> None:
        self.frames += 1
        self._people += len(located)
        self._passes += located.passes
        self._drafts += located.drafts
        self._ms.append(located.timings_ms.get("total", 0.0))

    def __str__(self) -> str:
        drafts, passes = self._drafts, self._passes
        share = drafts.accepted / drafts.free if drafts.free else 0.0
        decoder: list[Any] = [("prefix", passes.prefix), ("suffix", passes.suffix), ("decode", passes.decode)]
        counts = "  ".join(f"{name} {count / self.frames:.1f}" for name, count in decoder)
        return "\n".join(
            (
                f"frames  {self.frames}, {self._people} people in all",
                f"drafts  {drafts.accepted} of {drafts.free} tokens accepted ({share:.0%}), "
                f"{drafts.offered} offered",
                f"passes  {counts} a frame",
                f"time    {statistics.median(self._ms):.1f} ms a frame (median)",
            )
        )
