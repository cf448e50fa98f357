# SPDX-License-Identifier: Apache-2.0
"""Putting a bundle in its place: refusals, replacement, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgepose.errors import InvalidInputError
from edgepose.export.bundle_writer import StagedBundle, write_embeddings


def fill(staged: StagedBundle, text: str = "new") -> None:
    (staged.path / "bundle.json").write_text(text)


def test_appears_at_once(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "bundle"
    with StagedBundle(out, force=False) as staged:
        fill(staged)
        assert not out.exists() and staged.path.parent == out.parent
        assert staged.commit() == out
    assert [file.name for file in out.iterdir()] == ["bundle.json"]
    assert [entry.name for entry in out.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), StagedBundle(tmp_path / "a" / "bundle", force=False) as staged:
        fill(staged)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_no_overwriting(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "bundle.json").write_text("old")
    with pytest.raises(InvalidInputError, match=r"is there, with 1 entries.*--force"):
        StagedBundle(out, force=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="is a file"):
        StagedBundle(tmp_path / "file", force=True)
    assert (out / "bundle.json").read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_force_replaces_bundles_only(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "bundle.json").write_text("old")
    (out / "extra").write_text("old")
    with StagedBundle(out, force=True) as staged:
        fill(staged)
        assert (out / "bundle.json").read_text() == "old"
        staged.commit()
    assert [file.name for file in out.iterdir()] == ["bundle.json"]
    assert (out / "bundle.json").read_text() == "new"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("")
    with pytest.raises(InvalidInputError, match=r"no bundle\.json"):
        StagedBundle(tmp_path / "photos", force=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bundle", "photos"]


def test_the_old_bundle_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "bundle.json").write_text("old")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError("no space left")
        return real(self, target)

    with pytest.raises(OSError, match="no space"), StagedBundle(out, force=True) as staged:
        fill(staged)
        monkeypatch.setattr(Path, "rename", rename)
        staged.commit()
    assert (out / "bundle.json").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="expected a place that can be written"):
        StagedBundle(tmp_path / "file" / "bundle", force=False)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_embeddings(tmp_path: Path, dtype: str) -> None:
    table = torch.randn(5000, 1024)
    write_embeddings(tmp_path / "embeddings.npy", table.to(torch.bfloat16), np.dtype(dtype))
    stored = np.load(tmp_path / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    assert stored.dtype == dtype and stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, table.to(torch.bfloat16).to(torch.float32).numpy().astype(dtype))


def test_embeddings_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"decoder\.embed_tokens\.weight"):
        write_embeddings(tmp_path / "embeddings.npy", torch.full((4, 4), 1e6), np.dtype(np.float16))
