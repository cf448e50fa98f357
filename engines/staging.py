# SPDX-License-Identifier: Apache-2.0
"""Puts an engine directory in its place in one step: a hidden directory beside it is filled, then renamed.

What goes into it is decided in `edgepose.engines.build`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

from edgepose.engine import ENGINE_MANIFEST
from edgepose.errors import InvalidInputError

__all__ = ["StagedEngines"]


class StagedEngines:
    """A directory under construction; as a context manager it leaves nothing behind unless `commit` is
    called. What stands in its place until then stays as it is.

    Args:
        out: where the engines will be. Missing parents are made.

    Raises:
        InvalidInputError: something else than engines is there, or the place cannot be written.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out).resolve()
        if self.out.exists() and not self.out.is_dir():
            raise InvalidInputError(
                f"[build] expected a directory; got the file {self.out}; choose another --out"
            )
        names = [entry.name for entry in self.out.iterdir()] if self.out.is_dir() else []
        if names and ENGINE_MANIFEST not in names:
            raise InvalidInputError(
                f"[build] expected an engine directory to replace, or none; {self.out} has {len(names)} "
                f"entries and no {ENGINE_MANIFEST}; choose another --out"
            )
        self.path = self.out.parent / f".{self.out.name}.{secrets.token_hex(4)}.partial"
        self._made = [folder for folder in self.out.parents if not folder.exists()]
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            self._remove()
            raise InvalidInputError(
                f"[build] expected a place that can be written for the engines; got {self.out} ({error}); "
                "choose another --out"
            ) from error

    def __enter__(self) -> StagedEngines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path.exists():
            self._remove()

    def keep(self, name: str) -> None:
        """Takes a file over from the engines that are there."""
        try:
            os.link(self.out / name, self.path / name)
        except OSError:  # file systems without links
            shutil.copyfile(self.out / name, self.path / name)

    def commit(self) -> Path:
        """Renames the finished directory to `out`; what was there comes back if that fails."""
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
