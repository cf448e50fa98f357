# SPDX-License-Identifier: Apache-2.0
"""What a compiler measured, kept between builds in one file that belongs to one machine.

The measurements themselves are the vendor's; this module says whose they are, and keeps two builds from
overwriting each other.

A file is one line of JSON (`runtime`, `version`, `compute_capability`, `device`, `driver`, the SHA-256 of the
rest), a line break, and the vendor's bytes. While it is read or written, `FILE.lock` beside it is locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepose.engine_check import Platform
from edgepose.errors import EngineMismatchError, InvalidInputError

__all__ = ["TimingCache"]

_MAGIC = "edgepose timing cache 1"


class TimingCache:
    """A timing cache file.

    Args:
        path: the file; made at the first `collect` where it does not exist.
        platform: that measures now.

    Raises:
        EngineMismatchError: the file was measured by another version, card or driver; it stays as it is.
        InvalidInputError: it is no timing cache, is damaged, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], platform: Platform) -> None:
        self.path = Path(path)
        device = platform.device
        self._owner = {
            "format": _MAGIC,
            "runtime": str(platform.runtime),
            "version": str(platform.runtime_version),
            "compute_capability": str(platform.compute_capability),
            "device": "none" if device is None else device.name,
            "driver": "none" if platform.driver is None else platform.driver,
        }
        if not self.path.parent.is_dir():
            raise InvalidInputError(
                f"[timing cache] expected a file in a directory that exists; got {self.path}; make the "
                "directory"
            )
        with self._locked():
            self._read()

    def attach(self, config: Any) -> None:
        """Gives what is in the file to a compiler's options."""
        with self._locked():
            measured = self._read()
        config.set_timing_cache(config.create_timing_cache(measured), False)

    def collect(self, config: Any) -> None:
        """Adds what a compiler has measured to the file, beside what others added meanwhile."""
        cache = config.get_timing_cache()
        if cache is None:
            return
        with self._locked():
            if measured := self._read():
                cache.combine(config.create_timing_cache(measured), True)
            self._write(bytes(cache.serialize()))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self.path.with_name(self.path.name + ".lock")
        try:
            with lock.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except PermissionError as error:
            raise InvalidInputError(
                f"[timing cache] expected a place that can be written; got: {error}; choose another file"
            ) from error

    def _read(self) -> bytes:
        """The vendor's bytes; none where there is no file."""
        if not self.path.exists():
            return b""
        head, _, measured = self.path.read_bytes().partition(b"\n")
        try:
            said = json.loads(head)
            known = isinstance(said, dict) and said.get("format") == _MAGIC
        except ValueError:
            known = False
        if not known:
            raise InvalidInputError(
                f"[timing cache] expected a file that `edgepose build` has written; got {self.path}, which "
                "begins otherwise; name another file (TensorRT's own cache files do not say whose they are)"
            )
        differences = [
            f"\n  - {field}: expected {value} (this machine); got {said.get(field)}"
            for field, value in self._owner.items()
            if said.get(field) != value
        ]
        if differences:
            raise EngineMismatchError(
                f"[timing cache {self.path}] expected measurements of this machine; got:"
                f"{''.join(differences)}"
                "\nname another file; this one stays as it is"
            )
        if said.get("sha256") != hashlib.sha256(measured).hexdigest():
            raise InvalidInputError(
                f"[timing cache {self.path}] expected the bytes that were written; got {len(measured)} "
                "others (truncated or changed); delete the file: it only saves time"
            )
        return measured

    def _write(self, measured: bytes) -> None:
        head = {**self._owner, "sha256": hashlib.sha256(measured).hexdigest()}
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(json.dumps(head).encode() + b"\n" + measured)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
