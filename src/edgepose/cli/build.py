# SPDX-License-Identifier: Apache-2.0
"""`edgepose build`: a bundle becomes engines."""

from __future__ import annotations

from typing import Any

import click

from edgepose.cli.failures import missing_extra
from edgepose.cli.output import STDOUT, check_target, json_text, write_whole
from edgepose.cli.progress import ProgressLine

__all__ = ["build"]

_EXTRA = "tensorrt-rtx"


@click.command(short_help="Build TensorRT engines from a bundle.")
@click.argument("bundle", type=click.Path())
@click.option(
    "--recipe",
    required=True,
    metavar="NAME|FILE",
    help="orin-agx-64gb, orin-nx-16gb, orin-nx-8gb, orin-nano-8gb or rtx-ci, or a TOML file of your own.",
)
@click.option(
    "--out", type=click.Path(), help="Engine directory. Default: BUNDLE.RECIPE.engines, beside the bundle."
)
@click.option(
    "--timing-cache",
    type=click.Path(dir_okay=False),
    help="File that keeps the compiler's measurements for the next build on this machine.",
)
@click.option("--json", "report", metavar="REPORT", help="Write a report as JSON to this file; - for stdout.")
@click.option(
    "--check",
    is_flag=True,
    help="Parse, check shapes at every point of every profile, estimate memory; compile and write nothing.",
)
def build(
    bundle: str, recipe: str, out: str | None, timing_cache: str | None, report: str | None, check: bool
) -> None:
    """Build the engines of BUNDLE by a recipe; what has not changed is kept.

    Engines belong to one bundle, one version of TensorRT and one kind of GPU. Exit status 1 if anything
    fails; engines that were there then stay as they were.
    """
    if report is not None and report != STDOUT:
        check_target(report, "--json")
    try:
        from edgepose.engines import build_engines, build_text
    except ImportError as error:
        raise missing_extra(error, _EXTRA) from error
    from edgepose.errors import EdgePoseError

    try:
        with ProgressLine() as progress:
            done = build_engines(
                bundle, recipe, out=out, timing_cache=timing_cache, check=check, progress=progress
            )
    except EdgePoseError as error:
        if report is not None:
            _write(report, {"status": "failed", "error": type(error).__name__, "message": str(error)})
        raise
    if report is not None:
        _write(report, done.to_json())
    if report != STDOUT:
        click.echo(build_text(done))


def _write(target: str, value: dict[str, Any]) -> None:
    text = json_text(value) + "\n"
    if target == STDOUT:
        click.echo(text, nl=False)
    else:
        write_whole(target, text.encode())
