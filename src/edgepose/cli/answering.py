# SPDX-License-Identifier: Apache-2.0
"""What commands that answer about an image share: options, and how answers are printed, stored and drawn.

What is asked belongs to the commands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepose.builtin import DEFAULT_MODEL, METRIC_MODEL
from edgepose.cli.output import STDOUT, check_target, json_text, write_whole
from edgepose.cli.table import table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgepose.camera import Camera
    from edgepose.localizer import Localizer
    from edgepose.results import Localization

__all__ = ["Answering", "answering_options", "clip_options", "readable_scale"]

_READABLE = 480  # pixels; pictures with a shorter side are enlarged to about this

_MODEL_OPTIONS = (
    click.option(
        "--bundle",
        type=click.Path(),
        help="Directory written by `edgepose export`, or a built-in model. Default: "
        f"{DEFAULT_MODEL}; with a camera or a command {METRIC_MODEL}.",
    ),
    click.option("--fx", type=float, metavar="PX", help="Focal length of the camera, pixels."),
    click.option("--fy", type=float, metavar="PX", help="The same, vertically. Default: as --fx."),
    click.option("--cx", type=float, metavar="PX", help="Principal point. Default: the image's centre."),
    click.option("--cy", type=float, metavar="PX", help="The same, vertically."),
    click.option(
        "--camera",
        type=click.Path(),
        metavar="FILE",
        help="Calibration file of ROS or OpenCV (YAML), instead of --fx, --fy, --cx, --cy.",
    ),
    click.option(
        "--decode",
        type=click.Choice(["constrained", "exact"]),
        default="constrained",
        show_default=True,
        help="exact reproduces the published decoding token for token.",
    ),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer of exact decoding."),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all cores."),
    click.option(
        "--engines",
        type=click.Path(),
        metavar="DIR",
        help="Run on the GPU: engines that `edgepose build` made of the bundle on this machine.",
    ),
)

_TRACE = click.option(
    "--trace", is_flag=True, help="Include prompt ids, token ids and answer texts in the JSON."
)


@dataclass(frozen=True, slots=True)
class Answering:
    """The values of the shared options."""

    bundle: str | None
    fx: float | None
    fy: float | None
    cx: float | None
    cy: float | None
    camera: str | None
    decode: str
    max_tokens: int | None
    threads: int | None
    engines: str | None
    json_file: str | None
    drawing: str | None
    trace: bool

    def check(self, check_drawing: Callable[[str], None]) -> None:
        """Refuse what could not be written or understood, before the work; `check_drawing`: its file."""
        if self.json_file is not None and self.json_file != STDOUT:
            check_target(self.json_file, "--json")
        if self.drawing is not None:
            check_target(self.drawing, "--draw")
            check_drawing(self.drawing)
        numbers = {name: getattr(self, name) for name in ("fx", "fy", "cx", "cy")}
        given = [f"--{name}" for name, value in numbers.items() if value is not None]
        if self.camera is not None and given:
            raise click.BadParameter(
                f"{', '.join(given)} given as well; name one or the other", param_hint="--camera"
            )
        if given and self.fx is None:
            raise click.BadParameter(f"missing beside {', '.join(given)}", param_hint="--fx")

    def read_camera(self, width: int, height: int) -> Camera | None:
        """The camera of an image of this size; None where no option speaks of one."""
        from edgepose.camera import Camera

        if self.camera is not None:
            return Camera.from_yaml(self.camera)
        if self.fx is None:
            return None
        return Camera(
            fx=self.fx,
            fy=self.fx if self.fy is None else self.fy,
            cx=width / 2 if self.cx is None else self.cx,
            cy=height / 2 if self.cy is None else self.cy,
            width=width,
            height=height,
        )

    def open(self, progress: Any, *, metric: bool = False) -> Localizer:
        """Open the bundle; where none is named, the built-in model for keypoints, or that for metres with a
        camera or `metric`."""
        import edgepose

        metric = metric or self.camera is not None or self.fx is not None
        return edgepose.Localizer(
            self.bundle or (METRIC_MODEL if metric else DEFAULT_MODEL),
            engines=self.engines,
            threads=self.threads,
            decode="exact" if self.decode == "exact" else "constrained",
            max_tokens=self.max_tokens,
            progress=progress,
        )

    def show(self, located: Localization, pixels: NDArray[np.uint8]) -> None:
        """Write picture and JSON where they were asked for, and print."""
        if self.drawing is not None:
            picture = located.draw(pixels, scale=readable_scale(pixels.shape[:2]))
            write_whole(self.drawing, _encode(picture, self.drawing))
        if self.json_file is not None:
            text = json_text(located.to_json(trace=self.trace)) + "\n"
            if self.json_file == STDOUT:
                click.echo(text, nl=False)
                return
            write_whole(self.json_file, text.encode())
        click.echo(table(located))


def readable_scale(sides: tuple[int, ...]) -> int:
    """How much to enlarge a picture of these sides, pixels, so that what is drawn can be read."""
    return min(16, max(1, round(_READABLE / min(sides))))


def _check_picture_format(file: str) -> None:
    import cv2

    if not cv2.haveImageWriter(f"picture{Path(file).suffix}"):
        raise click.BadParameter(
            f"{file!r} has no suffix of a picture format; use .png or .jpg", param_hint="--draw"
        )


def _encode(picture: NDArray[np.uint8], file: str) -> bytes:
    import cv2

    encoded = cv2.imencode(Path(file).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    return bytes(encoded)


def _options(
    json_help: str, draw_help: str, check_drawing: Callable[[str], None]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    outputs = (
        click.option("--json", "json_file", metavar="FILE", help=json_help),
        click.option("--draw", "drawing", metavar="FILE", help=draw_help),
        _TRACE,
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def gathered(**values: Any) -> None:
            shared = Answering(**{item.name: values.pop(item.name) for item in fields(Answering)})
            shared.check(check_drawing)
            command(shared, **values)

        for option in reversed((*_MODEL_OPTIONS, *outputs)):
            gathered = option(gathered)
        return gathered

    return add


def _check_clip_format(file: str) -> None:
    from edgepose.video import CLIP_CODECS

    if Path(file).suffix.lower() not in CLIP_CODECS:
        raise click.BadParameter(
            f"{file!r} has no suffix of a clip; use {' or '.join(CLIP_CODECS)}", param_hint="--draw"
        )


answering_options = _options(
    "Write the result as JSON; - is standard output.",
    "Write the picture with poses drawn on it.",
    _check_picture_format,
)
"""Adds the shared options to a command about one image, which gets their values as one `Answering`."""

clip_options = _options(
    "Write a line of JSON for each frame, as it comes; - is standard output.",
    "Write the clip with poses drawn on it, .mp4 or .avi.",
    _check_clip_format,
)
"""The same for a command about a sequence of images."""
