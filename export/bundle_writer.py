# SPDX-License-Identifier: Apache-2.0
"""Puts a bundle in its place in one step: a hidden directory beside it is filled, then renamed.

What goes into a bundle is decided in `edgepose.export.pipeline`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

import numpy as np
from torch import Tensor

from edgepose.bundle import MANIFEST_FILE
from edgepose.errors import InvalidInputError
from edgepose.export.graphs.builder import to_array

__all__ = ["StagedBundle", "write_embeddings"]

_CHUNK_BYTES = 1 << 24


class StagedBundle:
    """A directory under construction; as a context manager it leaves nothing behind unless `commit` is
    called.

    Args:
        out: Where the bundle will be. Missing parents are made.
        force: Whether a bundle (or an empty directory) that is already there is replaced. Anything else never
            is.

    Raises:
        InvalidInputError: Something is there that must stay, or the place cannot be written.
    """

    def __init__(self, out: str | os.PathLike[str], *, force: bool) -> None:
        self.out = Path(out).resolve()
        self._force = force
        self._refuse_to_overwrite()
        self.path = self.out.parent / f".{self.out.name}.{secrets.token_hex(4)}.partial"
        self._made = [folder for folder in self.out.parents if not folder.exists()]
        try:
            self.path.mkdir(parents=True)
        except OSError as error:
            self._remove()
            raise InvalidInputError(
                f"[export] expected a place that can be written for the bundle; got {self.out} ({error}); "
                "choose another --out"
            ) from error

    def __enter__(self) -> StagedBundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path.exists():
            self._remove()

    def commit(self) -> Path:
        """Renames the finished directory to `out`, in place of a bundle that is there; returns `out`.

        A bundle that is replaced is moved aside first and comes back if the renaming fails.
        """
        self._refuse_to_overwrite()
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

    def _refuse_to_overwrite(self) -> None:
        if not os.path.lexists(self.out):
            return
        if not self.out.is_dir():
            raise InvalidInputError(
                f"[export] expected a directory to make; {self.out} is a file; choose another --out"
            )
        names = [entry.name for entry in self.out.iterdir()]
        if not self._force:
            raise InvalidInputError(
                f"[export] expected a directory that does not exist yet; {self.out} is there, with "
                f"{len(names)} entries; choose another --out, or replace a bundle with --force"
            )
        if names and MANIFEST_FILE not in names:
            raise InvalidInputError(
                f"[export] expected {self.out} to be a bundle, to replace it; it has {len(names)} entries "
                f"and no {MANIFEST_FILE}; choose another --out"
            )

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return


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
