# SPDX-License-Identifier: Apache-2.0
"""`edgepose locate`: keypoints of people in one image, as a table, JSON and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from edgepose.cli.output import STDOUT, check_target, json_text, write_whole
from edgepose.cli.progress import ProgressLine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgepose.keypoints import KeypointsArgument, KeypointText
    from edgepose.results import Localization

__all__ = ["locate"]

_Box: TypeAlias = tuple[float, float, float, float]

_READABLE = 480  # pixels; pictures with a shorter side are enlarged to about this


def _read_boxes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[_Box]:
    boxes = []
    for value in values:
        try:
            x, y, w, h = (float(part) for part in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not four numbers x,y,w,h", ctx, param) from error
        boxes.append((x, y, w, h))
    return boxes


@click.command(short_help="Locate keypoints of people in an image.")
@click.argument("image", type=click.Path())
@click.option("--bundle", required=True, type=click.Path(), help="Directory written by `edgepose export`.")
@click.option(
    "--box",
    "boxes",
    metavar="X,Y,W,H",
    multiple=True,
    callback=_read_boxes,
    help="Person as left,top,width,height in pixels; repeat for more people. Default: the whole image.",
)
@click.option("--keypoints", metavar="NAME,...", help="Names, or a set: coco17, mpii16, h36m17.")
@click.option(
    "--describe",
    "descriptions",
    metavar="NAME=TEXT",
    multiple=True,
    help="A keypoint of your own and where it lies; repeatable.",
)
@click.option(
    "--decode",
    type=click.Choice(["constrained", "exact"]),
    default="constrained",
    show_default=True,
    help="exact reproduces the published decoding token for token.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all cores.")
@click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON; - is standard output.")
@click.option("--draw", "drawing", metavar="FILE", help="Write the picture with poses drawn on it.")
@click.option("--trace", is_flag=True, help="Include token ids and answer texts in the JSON.")
def locate(
    image: str,
    bundle: str,
    boxes: list[_Box],
    keypoints: str | None,
    descriptions: tuple[str, ...],
    decode: str,
    threads: int | None,
    json_file: str | None,
    drawing: str | None,
    trace: bool,
) -> None:
    """Locate keypoints of people in IMAGE and print them."""
    described = [_description(text) for text in descriptions]
    if json_file is not None and json_file != STDOUT:
        check_target(json_file, "--json")
    if drawing is not None:
        check_target(drawing, "--draw")
        _check_picture_format(drawing)

    import edgepose
    from edgepose.images import load_image

    pixels = load_image(image)
    height, width = pixels.shape[:2]
    with ProgressLine() as progress:
        localizer = edgepose.Localizer(
            bundle,
            threads=threads,
            decode="exact" if decode == "exact" else "constrained",
            progress=progress,
        )
        located = localizer.locate(
            pixels,
            boxes=boxes or [(0.0, 0.0, width, height)],
            keypoints=_selection(keypoints, described),
            progress=progress,
        )
    if drawing is not None:
        scale = min(16, max(1, round(_READABLE / min(height, width))))
        write_whole(drawing, _encode(located.draw(pixels, scale=scale), drawing))
    if json_file is not None:
        text = json_text(located.to_json(trace=trace)) + "\n"
        if json_file == STDOUT:
            click.echo(text, nl=False)
            return
        write_whole(json_file, text.encode())
    click.echo(_table(located))


def _description(text: str) -> KeypointText:
    from edgepose.errors import InvalidInputError
    from edgepose.keypoints import KeypointText

    name, separator, description = (part.strip() for part in text.partition("="))
    try:
        if not separator:
            raise InvalidInputError(f"{text!r} is not name=description")
        return KeypointText(name, description)
    except InvalidInputError as error:
        raise click.BadParameter(str(error), param_hint="--describe") from error


def _selection(keypoints: str | None, described: list[KeypointText]) -> KeypointsArgument:
    """The `keypoints` argument: names first, in order; descriptions replace a name or follow."""
    from edgepose.keypoints import KEYPOINT_SETS, canonical_name

    chosen: list[str | KeypointText] = []
    if keypoints is not None and keypoints.strip() in KEYPOINT_SETS:
        chosen.extend(KEYPOINT_SETS[keypoints.strip()].keypoints)
    elif keypoints is not None:
        chosen.extend(name.strip() for name in keypoints.split(","))
    elif not described:
        return None
    for text in described:
        names = [item for item in chosen if isinstance(item, str)]
        spelling = canonical_name(text.name, names)
        if spelling is None:
            chosen.append(text)
        else:
            chosen[chosen.index(spelling)] = text
    return chosen


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


def _table(located: Localization) -> str:
    lines = []
    for number, pose in enumerate(located, start=1):
        box = ", ".join(f"{value:g}" for value in pose.box)
        lines.append(f"person {number}  box ({box})  score {pose.score:.3f}")
        width = max(len(name) for name in ("keypoint", *pose.names))
        deep = any(point.dimensions == 3 for point in pose)
        depth = f"  {'depth mm':>8}  {'+- mm':>6}" if deep else ""
        lines.append(
            f"  {'keypoint':{width}}  {'x px':>8}  {'y px':>8}  {'+- x':>6}  {'+- y':>6}{depth}  confidence"
        )
        for point in pose:
            if not point.valid:
                lines.append(f"  {point.name:{width}}  not answered")
                continue
            (x, y), (sx, sy) = point.xy, point.std
            depth = f"  {point.depth:8.1f}  {point.depth_std:6.1f}" if deep else ""
            lines.append(
                f"  {point.name:{width}}  {x:8.1f}  {y:8.1f}  {sx:6.1f}  {sy:6.1f}{depth}"
                f"  {point.confidence:10.3f}"
            )
    passes = "  ".join(f"{name} {count}" for name, count in located.passes.to_json().items())
    lines.append(f"passes  {passes}")
    if "total" in located.timings_ms:
        lines.append(f"time    {located.timings_ms['total']:.1f} ms")
    return "\n".join(lines)
