# SPDX-License-Identifier: Apache-2.0
"""Expected failures as one `error: ...` on stderr and exit status 1, without a traceback.

Mistakes in the command line are click's: exit status 2 with the usage.
"""

from __future__ import annotations

from typing import Any

import click

__all__ = ["Commands", "Failure", "missing_extra"]


class Failure(click.ClickException):
    """Ends a command with a message and exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.format_message()}", file=file, err=True)


class Commands(click.Group):
    """A group whose commands may raise any `EdgePoseError`."""

    def invoke(self, ctx: click.Context) -> Any:
        from edgepose.errors import EdgePoseError

        try:
            return super().invoke(ctx)
        except EdgePoseError as error:
            raise Failure(str(error)) from error


def missing_extra(error: ImportError, extra: str) -> Failure:
    """What to say when a package of an optional extra is not installed.

    Raises:
        ImportError: `error` itself, where it is a part of edgepose that is missing and not an extra.
    """
    if error.name is None or error.name.split(".")[0] == "edgepose":
        raise error
    return Failure(f"{error}; this command needs more packages: pip install 'edgepose[{extra}]'")
