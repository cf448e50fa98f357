# SPDX-License-Identifier: Apache-2.0
"""`edgepose inspect`: what engines are, and whether they fit this machine and a bundle."""

from __future__ import annotations

import click

from edgepose.cli.failures import missing_extra
from edgepose.cli.output import json_text

__all__ = ["inspect"]


@click.command(short_help="Show what engines are and whether they fit.")
@click.argument("engines", type=click.Path())
@click.option("--bundle", type=click.Path(), help="Check that the engines are those of this bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print the sidecar and the comparison as JSON.")
@click.pass_context
def inspect(ctx: click.Context, engines: str, bundle: str | None, as_json: bool) -> None:
    """Show bundle, recipe, runtime, GPU, profiles and files of the directory ENGINES.

    Every file is compared with its hash. Exit status 1 if something differs from this machine or from the
    bundle; a GPU or a library that is not here at all is said, and is no failure.
    """
    try:
        from edgepose.engines import inspect_engines, inspection_text
    except ImportError as error:
        raise missing_extra(error, "tensorrt-rtx") from error

    found = inspect_engines(engines, bundle=bundle)
    click.echo(json_text(found.to_json()) if as_json else inspection_text(found))
    if found.differences:
        ctx.exit(1)
