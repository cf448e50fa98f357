# SPDX-License-Identifier: Apache-2.0
"""`edgepose demo`: the built-in models at work, as pictures and a short clip."""

from __future__ import annotations

import click

from edgepose.cli.progress import ProgressLine
from edgepose.cli.selection import read_boxes

__all__ = ["demo"]


@click.command(short_help="See the built-in models at work.")
@click.argument("image", type=click.Path(), required=False)
@click.option(
    "--box", "boxes", metavar="X,Y,W,H", multiple=True, callback=read_boxes, help="A person in IMAGE."
)
@click.option("--out", type=click.Path(file_okay=False), default="demo", show_default=True, help="Folder.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all cores.")
def demo(image: str | None, boxes: list[tuple[float, ...]], out: str, threads: int | None) -> None:
    """Write pictures of what the built-in models see in IMAGE, or in rendered frames that ship with them."""
    if boxes and image is None:
        raise click.BadParameter("given without an image; name one", param_hint="--box")

    from edgepose.demo import show_frames, show_picture

    with ProgressLine() as progress:
        if image is None:
            shown = show_frames(out, threads=threads, progress=progress)
        else:
            shown = [show_picture(image, out, boxes=boxes, threads=threads, progress=progress)]
    for each in shown:
        click.echo(f"{each.file}  {each.model}: {each.text}; {each.located.timings_ms['total']:.0f} ms")
