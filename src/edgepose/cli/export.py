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
    help="fp32, int4, int8 and the half-size forms are for CPUs, fp16, int4-fp16 and int8-fp16 for GPUs.",
)
@click.option(
    "--calibration",
    "images",
    metavar="IMAGE|FOLDER",
    type=click.Path(),
    multiple=True,
    help="Photographs on which INT8 precisions measure how large activations become; repeatable. PoseLLM "
    "and LocLLM take each for the crop of a person. Up to 32 are used, evenly spaced among all.",
)
@click.option(
    "--calibration-focal",
    "focal",
    type=float,
    metavar="PX",
    help="Focal length of the camera that took these, pixels; default: the longer side of each. TAIHRI.",
)
@click.option(
    "--smoothing",
    type=click.FloatRange(0, 1),
    help="How much of what makes activations hard to round goes into the weights; default: 0.7. INT8 "
    "precisions.",
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
    images: tuple[str, ...],
    focal: float | None,
    smoothing: float | None,
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

    calibration = None
    for option, value in (("--calibration-focal", focal), ("--smoothing", smoothing)):
        if value is not None and not images:
            raise click.BadParameter(f"missing beside {option}", param_hint="--calibration")
    if images:
        from edgepose.examples import ImageExamples

        calibration = ImageExamples(images, focal=focal)
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
            calibration=calibration,
            smoothing=smoothing,
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
