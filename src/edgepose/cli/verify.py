# SPDX-License-Identifier: Apache-2.0
"""`edgepose verify`: hashes of a bundle's files and its stored inputs run again on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgepose.cli.output import STDOUT, check_target, json_text, write_whole
from edgepose.cli.progress import ProgressLine

if TYPE_CHECKING:
    from edgepose.verify import GraphResult, VerifyReport

__all__ = ["verify"]


@click.command(short_help="Check a bundle's files and run its stored inputs again.")
@click.argument("bundle", type=click.Path())
@click.option(
    "--engines", type=click.Path(), help="Directory of `edgepose build`: run the inputs through its engines."
)
@click.option(
    "--json",
    "report_file",
    metavar="[FILE]",
    is_flag=False,
    flag_value=STDOUT,
    help="Write the report as JSON to this file; without one, or with -, to stdout instead of the table.",
)
@click.pass_context
def verify(ctx: click.Context, bundle: str, engines: str | None, report_file: str | None) -> None:
    """Check BUNDLE: every file's hash, and every graph against the outputs stored at export.

    Those outputs are PyTorch's. The graphs run in ONNX Runtime on the CPU; with --engines the TensorRT
    engines that were built from them run on the GPU, in each of their profiles, with the same tolerances.

    Exit status 1 if a graph is further off than its tolerance, or could not be run at all.
    """
    if report_file is not None and report_file != STDOUT:
        check_target(report_file, "--json")
    from edgepose.bundle import Bundle
    from edgepose.verify import verify_bundle

    with ProgressLine() as progress:
        report = verify_bundle(Bundle.open(bundle), progress, engines=engines)
    if report_file == STDOUT:
        click.echo(json_text(report.to_json()))
    else:
        if report_file is not None:
            write_whole(report_file, (json_text(report.to_json()) + "\n").encode())
        click.echo(_table(report))
    if not report.passed:
        ctx.exit(1)


def _table(report: VerifyReport) -> str:
    width = max((len(graph.name) for graph in report.graphs), default=5)
    lines = [f"{'graph':{width}}  {'max error':>10}  {'tolerance':>10}  result"]
    for graph in report.graphs:
        lines.append(
            f"{graph.name:{width}}  {graph.max_error:10.2e}  {graph.tolerance:10.2e}  {_result(graph)}"
        )
    lines += report.notes()
    if report.passed:
        verdict = "all graphs pass"
    elif report.engines is None:
        verdict = "this machine does not reproduce the bundle"
    else:
        verdict = "these engines do not reproduce the bundle"
    return "\n".join([*lines, f"{verdict} ({report.runtime} {report.runtime_version})"])


def _result(graph: GraphResult) -> str:
    if graph.runs:
        return "pass" if graph.passed else "FAIL"
    return "NOT RUN"
