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
    help="fp32, int4 and their half-size forms are for CPUs, fp16 and int4-fp16 for GPUs.",
)
@click.option(
    "--keypoint-texts",
    type=click.Path(),
    help="Descriptions the checkpoint was trained with: its authors' constants.py, or JSON. PoseLLM and "
    "LocLLM.",
)
@click.option(
    "--prompt-format",
    type=click.Choice(["keypoint", "simple", "llama2"]),
    help="Prompt the checkpoint was trained with; default: keypoint. PoseLLM and LocLLM.",
)
@click.option(
    "--answer",
    type=click.Choice(["2d", "3d"]),
    help="Numbers the checkpoint answers with: a place in the image (2d), or also a depth (3d). Default: 3d "
    "for TAIHRI, 2d for the others.",
)
@click.option(
    "--crop",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Cut scaled frames to this side around their centre; default: no cut. TAIHRI.",
)
@click.option(
    "--answer-layout",
    metavar="NAME|TEXT|FILE",
    help="How answers are set: compact, spaced, or an example answer of the checkpoint, as text or as a JSON "
    "list of token ids. Default: learnt from an answer of the model, compact where that shows none. TAIHRI.",
)
@click.option(
    "--probe/--no-probe",
    default=True,
    show_default=True,
    help="Whether to run the model once to learn how it sets its answers, where nothing else says so.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def export(
    family: str,
    checkpoint: str,
    out: str,
    precision: str,
    keypoint_texts: str | None,
    prompt_format: str | None,
    answer: str | None,
    crop: int | None,
    answer_layout: str | None,
    probe: bool,
    force: bool,
) -> None:
    """Export a checkpoint of PoseLLM, LocLLM or TAIHRI to a bundle."""
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
            crop=crop,
            answer_layout=answer_layout,
            force=force,
            progress=progress,
        )
        learnt = _learn_layout(out, progress) if probe else None
    click.echo(f"wrote {out}")
    if learnt is not None:
        click.echo(learnt)


def _learn_layout(bundle: str, progress: ProgressLine) -> str | None:
    """Learns the layout of answers where the bundle has one that nobody has said; what to tell about it."""
    from edgepose.bundle import BinCodecSpec, read_manifest

    codec = read_manifest(bundle).codec
    if not isinstance(codec, BinCodecSpec) or codec.layout.source != "default":
        return None
    from edgepose.probe import probe_layout

    if probe_layout(bundle, progress=progress) is not None:
        return "answer layout: learnt from the model's own answer to a probe"
    return (
        "answer layout: compact, unconfirmed: the model's answer to a probe shows none; name it with "
        "--answer-layout if you know it"
    )
