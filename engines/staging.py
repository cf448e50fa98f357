# SPDX-License-Identifier: Apache-2.0
"""The place of an engine directory: what may be replaced there, and what is taken over from it.

What goes into it is decided in `edgepose.engines.build`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgepose.engine import ENGINE_MANIFEST
from edgepose.errors import InvalidInputError
from edgepose.staged_folder import StagedFolder

__all__ = ["StagedEngines"]


class StagedEngines(StagedFolder):
    """An engine directory under construction.

    Args:
        out: where the engines will be. Missing parents are made.

    Raises:
        InvalidInputError: something else than engines is there, or the place cannot be written.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        place = Path(out).resolve()
        if place.exists() and not place.is_dir():
            raise InvalidInputError(
                f"[build] expected a directory; got the file {place}; choose another --out"
            )
        names = [entry.name for entry in place.iterdir()] if place.is_dir() else []
        if names and ENGINE_MANIFEST not in names:
            raise InvalidInputError(
                f"[build] expected an engine directory to replace, or none; {place} has {len(names)} "
                f"entries and no {ENGINE_MANIFEST}; choose another --out"
            )
        super().__init__(place, area="build", contents="engines")

    def keep(self, name: str) -> None:
        """Takes a file over from the engines that are there."""
        try:
            os.link(self.out / name, self.path / name)
        except OSError:  # file systems without links
            shutil.copyfile(self.out / name, self.path / name)
