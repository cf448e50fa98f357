# SPDX-License-Identifier: Apache-2.0
"""`edgepose export`: a published checkpoint becomes a bundle."""

from __future__ import annotations

import click

from edgepose.bundle import FAMILIES, PRECISIONS
from edgepose.cli.failures import missing_extra
from edgepose.cli.progress import ProgressLine

__all__ = ["export"]


@click.command(short_help="Make a bundle from a published checkpoint.")
@click.option(
    "--family", required=True, type=click.Choice(FAMILIES), help="System the checkpoint belongs to."
)
@click.option(
    "--checkpoint", required=True, type=click.Path(), help="Directory with config.json and weights."
)
@click.option("--out", required=True, type=click.Path(), help="Directory to make.")
@click.option(
    "--precision",
    type=click.Choice(list(PRECISIONS)),
    default="int4",
    show_default=True,
    help="int4 is for CPUs, int4-fp16 and fp16 are for GPUs.",
)
@click.option(
    "--keypoint-texts",
    type=click.Path(),
    help="Descriptions the checkpoint was trained with: its authors' constants.py, or JSON.",
)
@click.option(
    "--prompt-format",
    type=click.Choice(["keypoint", "simple", "llama2"]),
    default="keypoint",
    show_default=True,
    help="Prompt the checkpoint was trained with.",
)
@click.option(
    "--answer",
    type=click.Choice(["2d", "3d"]),
    default="2d",
    show_default=True,
    help="Numbers the checkpoint answers with: a place in the image (2d), or also a depth (3d).",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def export(
    family: str,
    checkpoint: str,
    out: str,
    precision: str,
    keypoint_texts: str | None,
    prompt_format: str,
    answer: str,
    force: bool,
) -> None:
    """Export a checkpoint of PoseLLM or LocLLM to a bundle."""
    try:
        from edgepose.export import export_bundle
    except ImportError as error:
        raise missing_extra(error, "export") from error

    with ProgressLine() as progress:
        export_bundle(
            family=family,
            checkpoint=checkpoint,
            out=out,
            precision=precision,
            keypoint_texts=keypoint_texts,
            prompt_format=prompt_format,
            answer=answer,
            force=force,
            progress=progress,
        )
    click.echo(f"wrote {out}")
