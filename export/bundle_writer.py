# SPDX-License-Identifier: Apache-2.0
"""The place of a bundle: what may be replaced there; and the embedding table in it.

What goes into a bundle is decided in `edgepose.export.pipeline`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from torch import Tensor

from edgepose.bundle import MANIFEST_FILE
from edgepose.errors import InvalidInputError
from edgepose.export.stored_array import to_array
from edgepose.staged_folder import StagedFolder

__all__ = ["StagedBundle", "write_embeddings"]

_CHUNK_BYTES = 1 << 24


class StagedBundle(StagedFolder):
    """A bundle under construction.

    Args:
        out: Where the bundle will be. Missing parents are made.
        force: Whether a bundle (or an empty directory) that is already there is replaced. Anything else never
            is.

    Raises:
        InvalidInputError: Something is there that must stay, or the place cannot be written.
    """

    def __init__(self, out: str | os.PathLike[str], *, force: bool) -> None:
        place = Path(out).resolve()
        self._force = force
        self._refuse_to_overwrite(place)
        super().__init__(place, area="export", contents="bundle")

    def commit(self) -> Path:
        """As the base, but what has come there meanwhile is looked at once more."""
        self._refuse_to_overwrite(self.out)
        return super().commit()

    def _refuse_to_overwrite(self, out: Path) -> None:
        if not os.path.lexists(out):
            return
        if not out.is_dir():
            raise InvalidInputError(
                f"[export] expected a directory to make; {out} is a file; choose another --out"
            )
        names = [entry.name for entry in out.iterdir()]
        if not self._force:
            raise InvalidInputError(
                f"[export] expected a directory that does not exist yet; {out} is there, with "
                f"{len(names)} entries; choose another --out, or replace a bundle with --force"
            )
        if names and MANIFEST_FILE not in names:
            raise InvalidInputError(
                f"[export] expected {out} to be a bundle, to replace it; it has {len(names)} entries "
                f"and no {MANIFEST_FILE}; choose another --out"
            )


def write_embeddings(path: Path, table: Tensor, dtype: np.dtype[np.generic]) -> None:
    """Writes an embedding table piece by piece.

    Args:
        path: `.npy` file to write.
        table: (vocabulary, hidden), any float type.
        dtype: Type of the file.

    Raises:
        InvalidInputError: It holds values that the type cannot, or that are no numbers.
    """
    rows = max(1, _CHUNK_BYTES // (table.shape[1] * dtype.itemsize))
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tuple(table.shape),
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(table), rows):
            piece = to_array("decoder.embed_tokens.weight", table[start : start + rows], dtype)
            file.write(np.ascontiguousarray(piece).data)
