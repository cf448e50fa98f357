# SPDX-License-Identifier: Apache-2.0
"""`edgepose verify`: hashes of a bundle's files and its stored inputs run again on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgepose.cli.output import json_text
from edgepose.cli.progress import ProgressLine

if TYPE_CHECKING:
    from edgepose.verify import VerifyReport

__all__ = ["verify"]


@click.command(short_help="Check a bundle's files and run its stored inputs again.")
@click.argument("bundle", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def verify(ctx: click.Context, bundle: str, as_json: bool) -> None:
    """Check BUNDLE: every file's hash, and every graph against the outputs stored at export.

    Exit status 1 if a graph is further off than its tolerance.
    """
    from edgepose.bundle import Bundle
    from edgepose.verify import verify_bundle

    with ProgressLine() as progress:
        report = verify_bundle(Bundle.open(bundle), progress)
    click.echo(json_text(report.to_json()) if as_json else _table(report))
    if not report.passed:
        ctx.exit(1)


def _table(report: VerifyReport) -> str:
    width = max((len(graph.name) for graph in report.graphs), default=5)
    lines = [f"{'graph':{width}}  {'max error':>10}  {'tolerance':>10}  result"]
    for graph in report.graphs:
        result = "pass" if graph.passed else "FAIL"
        lines.append(f"{graph.name:{width}}  {graph.max_error:10.2e}  {graph.tolerance:10.2e}  {result}")
    lines.append("all graphs pass" if report.passed else "this machine does not reproduce the bundle")
    return "\n".join(lines)
