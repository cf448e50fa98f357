# SPDX-License-Identifier: Apache-2.0
"""The command `edgepose`: options in, one public function called, its result printed.

Nothing that another program could want belongs here; each command imports what it needs when it runs.
"""

from __future__ import annotations

import click

from edgepose.cli.ask import ask
from edgepose.cli.build import build
from edgepose.cli.demo import demo
from edgepose.cli.eval import evaluate
from edgepose.cli.export import export
from edgepose.cli.failures import Commands
from edgepose.cli.info import info
from edgepose.cli.inspect import inspect
from edgepose.cli.locate import locate
from edgepose.cli.render import render
from edgepose.cli.track import track
from edgepose.cli.train import train
from edgepose.cli.verify import verify

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgepose")
def main() -> None:
    """Language-guided pose models on edge devices."""


for _command in (demo, locate, ask, track, info, verify, export, build, inspect, evaluate, render, train):
    main.add_command(_command)
