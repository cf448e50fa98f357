# SPDX-License-Identifier: Apache-2.0
"""Hashes of files, and what is said while they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import edgepose.file_hash
from edgepose.file_hash import hash_file


def test_hash_file_reports_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgepose.file_hash, "_CHUNK", 4)
    data = b"ten bytes!"
    (tmp_path / "f").write_bytes(data)
    calls: list[tuple[str, int, int]] = []
    digest = hash_file(tmp_path / "f", lambda *call: calls.append(call))
    assert digest == hashlib.sha256(data).hexdigest()
    assert calls == [("hash f", 4, 10), ("hash f", 8, 10), ("hash f", 10, 10)]
