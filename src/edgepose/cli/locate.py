# SPDX-License-Identifier: Apache-2.0
"""`edgepose locate`: keypoints of people in one image, as a table, JSON and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import click

from edgepose.cli.answering import Answering, answering_options
from edgepose.cli.progress import ProgressLine

if TYPE_CHECKING:
    from edgepose.keypoints import KeypointsArgument, KeypointText

__all__ = ["locate"]

_Box: TypeAlias = tuple[float, float, float, float]


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
@click.option(
    "--box",
    "boxes",
    metavar="X,Y,W,H",
    multiple=True,
    callback=_read_boxes,
    help="Person as left,top,width,height in pixels; repeat for more people. Default: the whole image. "
    "Not for bundles that look at the whole frame.",
)
@click.option("--keypoints", metavar="NAME,...", help="Names, or a set: coco17, mpii16, h36m17, smpl22.")
@click.option(
    "--describe",
    "descriptions",
    metavar="NAME=TEXT",
    multiple=True,
    help="A keypoint of your own and where it lies; repeatable.",
)
@answering_options
def locate(
    shared: Answering,
    image: str,
    boxes: list[_Box],
    keypoints: str | None,
    descriptions: tuple[str, ...],
) -> None:
    """Locate keypoints of people in IMAGE and print them."""
    described = [_description(text) for text in descriptions]

    from edgepose.images import load_image

    pixels = load_image(image)
    height, width = pixels.shape[:2]
    camera = shared.read_camera(width, height)
    with ProgressLine() as progress:
        localizer = shared.open(progress)
        whole = None if localizer.bundle.manifest.crop is None else [(0.0, 0.0, float(width), float(height))]
        located = localizer.locate(
            pixels,
            boxes=boxes or whole,
            keypoints=_selection(keypoints, described),
            camera=camera,
            progress=progress,
        )
    shared.show(located, pixels)


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
