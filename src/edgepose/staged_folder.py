# SPDX-License-Identifier: Apache-2.0
"""Puts a directory in its place in one step: a hidden one beside it is filled, then renamed.

What goes into it, and what it may replace, is decided by those who derive from it.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edgepose.errors import InvalidInputError

__all__ = ["StagedFolder"]

_Staged = TypeVar("_Staged", bound="StagedFolder")


class StagedFolder:
    """A directory under construction; as a context manager it leaves nothing behind unless `commit` is
    called. What stands in its place until then stays as it is.

    Args:
        out: where the directory will be. Missing parents are made.
        area: of error messages, such as `export`.
        contents: what is in it, for the same.

    Raises:
        InvalidInputError: the place cannot be written.
    """

    def __init__(self, out: Path, *, area: str, contents: str) -> None:
        self.out = out
        self.path = out.parent / f".{out.name}.{secrets.token_hex(4)}.partial"
        self._made = [folder for folder in out.parents if not folder.exists()]
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            self._remove()
            raise InvalidInputError(
                f"[{area}] expected a place that can be written for the {contents}; got {out} ({error}); "
                "choose another --out"
            ) from error

    def __enter__(self: _Staged) -> _Staged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path.exists():
            self._remove()

    def commit(self) -> Path:
        """Renames the finished directory to `out`; what was there is moved aside first and comes back if that
        fails. Returns `out`."""
        if not self.out.exists():
            self.path.rename(self.out)
            return self.out
        aside = self.path.with_suffix(".replaced")
        self.out.rename(aside)
        try:
            self.path.rename(self.out)
        except BaseException:
            aside.rename(self.out)
            raise
        shutil.rmtree(aside)
        return self.out

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            for folder in self._made:
                folder.rmdir()
