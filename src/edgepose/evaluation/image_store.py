# SPDX-License-Identifier: Apache-2.0
"""The photographs of a data set: a folder of files, or one ZIP archive that need not be unpacked.

What is on them does not belong here.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.images import decode_image, load_image

__all__ = ["ImageStore"]


class ImageStore:
    """Finds and decodes images by the names that annotations give them.

    Args:
        path: a folder, or a ZIP archive.

    Raises:
        InvalidInputError: it is neither.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._archive: zipfile.ZipFile | None = None
        self._members: dict[str, str] = {}
        if self.path.is_dir():
            return
        try:
            self._archive = zipfile.ZipFile(self.path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InvalidInputError(
                f"[images] expected a folder or a ZIP archive of images; got {str(self.path)!r}: {error}; "
                "check the path"
            ) from error
        for member in self._archive.namelist():
            # An archive may hold its files in a folder that annotations do not name.
            for name in _endings(member):
                self._members.setdefault(name, member)

    def find(self, name: str) -> str:
        """The name under which an image is stored here: what `load` takes.

        Annotations often name folders of their author's disk (`HumanArt/images/...`): where the whole name
        leads nowhere, it is tried without its first folder, without the first two, and so on.

        Raises:
            InvalidInputError: no such image.
        """
        for ending in _endings(name):
            stored = self._stored(ending)
            if stored is not None:
                return stored
        raise InvalidInputError(
            f"[images] expected an image {name!r} in {str(self.path)!r}; got none; pass the folder or "
            "archive that the annotations belong to"
        )

    def load(self, stored: str) -> NDArray[np.uint8]:
        """Decode an image.

        Returns:
            `(H, W, 3)` uint8 RGB, as `edgepose.images.load_image`.

        Raises:
            InvalidInputError: it cannot be read.
        """
        if self._archive is None:
            return load_image(self.path / stored)
        where = f"{self.path}:{stored}"
        try:
            data = self._archive.read(stored)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InvalidInputError(
                f"[images] expected an image in the archive; got {where!r}: {error}; copy the archive again"
            ) from error
        return decode_image(data, where)

    def _stored(self, name: str) -> str | None:
        if self._archive is not None:
            return self._members.get(name)
        inside = ".." not in PurePosixPath(name).parts and not os.path.isabs(name)
        return name if inside and (self.path / name).is_file() else None


def _endings(name: str) -> Iterator[str]:
    """A path, and what is left of it without its first folders."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    for start in range(len(parts)):
        yield "/".join(parts[start:])
