# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of files of any size.

Which hash a file should have does not belong here: see `edgepose.bundle_files` and `edgepose.engine_files`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from edgepose.progress import Progress

__all__ = ["hash_file"]

_CHUNK = 4 << 20  # bytes


def hash_file(path: str | os.PathLike[str], progress: Progress | None = None) -> str:
    """SHA-256 of a file as 64 lower-case hexadecimal digits."""
    file = Path(path)
    total = file.stat().st_size
    digest, done = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(f"hash {file.name}", done, max(done, total))
    return digest.hexdigest()
