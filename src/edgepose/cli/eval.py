# SPDX-License-Identifier: Apache-2.0
"""`edgepose eval`: a bundle on a data set, as figures, JSON and a page."""

from __future__ import annotations

from typing import Any

import click

from edgepose.builtin import DEFAULT_MODEL
from edgepose.cli.output import STDOUT, check_target, json_text, write_whole
from edgepose.cli.progress import ProgressLine

__all__ = ["evaluate"]

_DATASETS = ("coco", "humanart", "mpii", "lsp", "h36m", "egobody", "harmony4d", "rendered")


def _read_range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    try:
        first, last = (int(part) for part in value.split("-"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a range like 9001-10000", ctx, param) from error
    return first, last


def _read_parts(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [part.strip() for part in value.split(",")]


def _read_commands(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    commands = {}
    for value in values:
        part, separator, text = (piece.strip() for piece in value.partition("="))
        if not (part and separator and text):
            raise click.BadParameter(f"{value!r} is not PART=WORDS", ctx, param)
        commands[part] = text
    return commands


@click.command("eval", short_help="Measure a bundle on a data set.")
@click.option("--dataset", "name", required=True, type=click.Choice(_DATASETS), help="Kind of data set.")
@click.option("--annotations", required=True, type=click.Path(), help="JSON; for lsp joints.npy.")
@click.option("--images", required=True, type=click.Path(), help="Folder or ZIP archive of the images.")
@click.option(
    "--bundle",
    default=DEFAULT_MODEL,
    show_default=True,
    type=click.Path(),
    help="Directory written by `edgepose export`, or a built-in model.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False),
    help="Folder for evaluation.json, report.html and answers.jsonl, which a second run continues.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Questions at most, from the first.")
@click.option(
    "--range", "numbers", metavar="A-B", callback=_read_range, help="lsp: photographs A to B, 9001-10000 say."
)
@click.option(
    "--box",
    type=click.Choice(["joints", "photograph"]),
    help="lsp: the person's box is that of the labelled joints (default) or the photograph.",
)
@click.option(
    "--parts",
    metavar="NAME,...",
    callback=_read_parts,
    help="3-D: parts of the body to ask for. Default: left_arm,right_arm,upper_body,lower_body; also all.",
)
@click.option(
    "--command",
    "commands",
    metavar="PART=WORDS",
    multiple=True,
    callback=_read_commands,
    help="3-D: ask for a part with these words and let the model choose the joints; repeatable.",
)
@click.option(
    "--decode",
    type=click.Choice(["constrained", "exact"]),
    default="constrained",
    show_default=True,
    help="exact reproduces the published decoding token for token.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all cores.")
@click.option(
    "--engines",
    type=click.Path(),
    metavar="DIR",
    help="Run on the GPU: engines that `edgepose build` made of the bundle on this machine.",
)
@click.option("--restart", is_flag=True, help="Forget the answers of an earlier run in --out.")
@click.option("--json", "json_file", metavar="FILE", help="Write the JSON here too; - is standard output.")
def evaluate(
    name: Any,
    annotations: str,
    images: str,
    bundle: str,
    out: str,
    limit: int | None,
    numbers: tuple[int, int] | None,
    box: Any,
    parts: list[str] | None,
    commands: dict[str, str],
    decode: Any,
    threads: int | None,
    engines: str | None,
    restart: bool,
    json_file: str | None,
) -> None:
    """Ask a bundle about every annotated person of a data set and compare with the truth.

    Stopped halfway, the same command goes on where it was. Human3.6M, EgoBody and Harmony4D are read in the
    3-D form that `edgepose render` writes; how to convert them is in the documentation of
    edgepose.evaluation.scenes.
    """
    if json_file is not None and json_file != STDOUT:
        check_target(json_file, "--json")

    import edgepose
    from edgepose.evaluation import evaluate as measure
    from edgepose.evaluation import open_dataset

    dataset = open_dataset(
        name, annotations, images, numbers=numbers, box=box, parts=parts, commands=commands
    )
    with ProgressLine() as progress:
        localizer = edgepose.Localizer(
            bundle, engines=engines, threads=threads, decode=decode, progress=progress
        )
        found = measure(
            localizer,
            dataset,
            out=out,
            limit=limit,
            settings={"decode": decode},
            restart=restart,
            progress=progress,
        )
    files = found.save(out)
    text = json_text(found.to_json()) + "\n"
    if json_file == STDOUT:
        click.echo(text, nl=False)
        return
    if json_file is not None:
        write_whole(json_file, text.encode())
    width = max(len(metric) for metric in found.metrics)
    for metric, value in found.metrics.items():
        click.echo(f"{metric:{width}}  {value:10.4f}")
    for kind, calibration in found.calibration.items():
        if calibration.count:
            shares = f"{calibration.within_1:.3f} and {calibration.within_2:.3f}"
            click.echo(f"errors in {kind} within 1 and 2 std: {shares} (0.683 and 0.954 if normal)")
    for file in files:
        click.echo(str(file))
