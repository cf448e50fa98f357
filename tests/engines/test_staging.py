# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.engines.staging import StagedEngines
from edgepose.errors import InvalidInputError


def test_commit_replaces_at_once_and_keeps_files(tmp_path: Path) -> None:
    out = tmp_path / "engines"
    out.mkdir()
    (out / "engine.json").write_text("old")
    (out / "a.engine").write_bytes(b"a")
    with StagedEngines(out) as staged:
        staged.keep("a.engine")
        (staged.path / "engine.json").write_text("new")
        assert (out / "engine.json").read_text() == "old"
        assert staged.commit() == out
    assert (out / "engine.json").read_text() == "new" and (out / "a.engine").read_bytes() == b"a"
    assert list(tmp_path.iterdir()) == [out]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        with StagedEngines(tmp_path / "new" / "engines") as staged:
            (staged.path / "a.engine").write_bytes(b"a")
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_must_stay(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInputError, match="expected a directory; got the file"):
        StagedEngines(tmp_path / "file")
    with pytest.raises(InvalidInputError, match="1 entries and no engine.json"):
        StagedEngines(tmp_path)
    with pytest.raises(InvalidInputError, match="place that can be written"):
        StagedEngines(tmp_path / "file" / "engines")
