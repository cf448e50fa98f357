# SPDX-License-Identifier: Apache-2.0
"""Options that say whose keypoints are wanted, and which.

What is done with them belongs to the commands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from edgepose.keypoint_argument import KeypointsArgument
    from edgepose.keypoint_text import KeypointText
    from edgepose.localizer import Localizer

__all__ = ["Selection", "selection_options"]

_Box: TypeAlias = tuple[float, float, float, float]


def read_boxes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[_Box]:
    boxes = []
    for value in values:
        try:
            x, y, w, h = (float(part) for part in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not four numbers x,y,w,h", ctx, param) from error
        boxes.append((x, y, w, h))
    return boxes


_OPTIONS = (
    click.option(
        "--box",
        "boxes",
        metavar="X,Y,W,H",
        multiple=True,
        callback=read_boxes,
        help="Person as left,top,width,height in pixels; repeat for more people. Default: the whole image. "
        "Not for bundles that look at the whole frame.",
    ),
    click.option("--keypoints", metavar="NAME,...", help="Names, or a set: coco17, mpii16, h36m17, smpl22."),
    click.option(
        "--describe",
        "descriptions",
        metavar="NAME=TEXT",
        multiple=True,
        help="A keypoint of your own and where it lies; repeatable.",
    ),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The values of these options."""

    boxes: list[_Box]
    keypoints: str | None
    descriptions: tuple[str, ...]

    def boxes_for(self, localizer: Localizer, width: int, height: int) -> list[_Box] | None:
        """Boxes in an image of this size: the whole of it by default, none for bundles that take none."""
        whole = [(0.0, 0.0, float(width), float(height))]
        return self.boxes or (None if localizer.bundle.manifest.crop is None else whole)

    def asked(self) -> KeypointsArgument:
        """The `keypoints` argument: names first, in order; descriptions replace a name or follow."""
        from edgepose.keypoints import KEYPOINT_SETS, canonical_name

        described = [_description(text) for text in self.descriptions]
        chosen: list[str | KeypointText] = []
        if self.keypoints is not None and self.keypoints.strip() in KEYPOINT_SETS:
            chosen.extend(KEYPOINT_SETS[self.keypoints.strip()].keypoints)
        elif self.keypoints is not None:
            chosen.extend(name.strip() for name in self.keypoints.split(","))
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


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options; `command` gets their values as the `Selection` named `selection`."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **values: Any) -> None:
        chosen = {item.name: values.pop(item.name) for item in fields(Selection)}
        command(*arguments, selection=Selection(**chosen), **values)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


def _description(text: str) -> KeypointText:
    from edgepose.errors import InvalidInputError
    from edgepose.keypoint_text import KeypointText

    name, separator, description = (part.strip() for part in text.partition("="))
    try:
        if not separator:
            raise InvalidInputError(f"{text!r} is not name=description")
        return KeypointText(name, description)
    except InvalidInputError as error:
        raise click.BadParameter(str(error), param_hint="--describe") from error
