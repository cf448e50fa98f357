# SPDX-License-Identifier: Apache-2.0
"""`edgepose ask`: the keypoints that a command in words is about, as a table, JSON and a picture."""

from __future__ import annotations

import click

from edgepose.cli.answering import Answering, answering_options
from edgepose.cli.progress import ProgressLine

__all__ = ["ask"]


@click.command(short_help="Locate the keypoints that a command is about.")
@click.argument("image", type=click.Path())
@click.argument("command", metavar="COMMAND")
@answering_options
def ask(shared: Answering, image: str, command: str) -> None:
    """Locate the keypoints of the person in IMAGE that COMMAND, in words, is about."""
    from edgepose.images import load_image

    pixels = load_image(image)
    height, width = pixels.shape[:2]
    camera = shared.read_camera(width, height)
    with ProgressLine() as progress:
        located = shared.open(progress, metric=True).ask(pixels, command, camera=camera, progress=progress)
    shared.show(located, pixels)
