# SPDX-License-Identifier: Apache-2.0
"""`edgepose locate`: keypoints of people in one image, as a table, JSON and a picture."""

from __future__ import annotations

import click

from edgepose.cli.answering import Answering, answering_options
from edgepose.cli.progress import ProgressLine
from edgepose.cli.selection import Selection, selection_options

__all__ = ["locate"]


@click.command(short_help="Locate keypoints of people in an image.")
@click.argument("image", type=click.Path())
@selection_options
@answering_options
def locate(shared: Answering, image: str, selection: Selection) -> None:
    """Locate keypoints of people in IMAGE and print them."""
    asked = selection.asked()

    from edgepose.images import load_image

    pixels = load_image(image)
    height, width = pixels.shape[:2]
    camera = shared.read_camera(width, height)
    with ProgressLine() as progress:
        localizer = shared.open(progress)
        located = localizer.locate(
            pixels,
            boxes=selection.boxes_for(localizer, width, height),
            keypoints=asked,
            camera=camera,
            progress=progress,
        )
    shared.show(located, pixels)
