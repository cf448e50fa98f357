# SPDX-License-Identifier: Apache-2.0
"""Meshes in files, read back by trimesh."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.errors import BackendUnavailableError, InvalidInputError
from edgepose.mesh import write_mesh

from . import capsule_body

VERTICES = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.25]])
FACES = np.array([[0, 1, 2]])


@pytest.mark.parametrize("name", ["body.obj", "body.glb", "BODY.GLB"])
def test_files_hold_the_mesh(tmp_path: Path, name: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    vertices, faces = capsule_body.mesh()
    path = tmp_path / name
    path.write_bytes(b"older")
    assert write_mesh(str(path), vertices, faces) == path
    read = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose(read.vertices, vertices, atol=1e-6)
    assert np.array_equal(read.faces, faces)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trimesh")
    path = tmp_path / "body.obj"
    path.write_text("older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InvalidInputError, match="can be written to; got .*body.obj.*No space left"):
        write_mesh(path, VERTICES, FACES)
    assert path.read_text() == "older" and len(list(tmp_path.iterdir())) == 1


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    with pytest.raises(InvalidInputError, match="check the folder"):
        write_mesh(tmp_path / "nowhere" / "body.glb", VERTICES, FACES)


@pytest.mark.parametrize(
    ("name", "vertices", "faces", "message"),
    [
        ("body.ply", VERTICES, FACES, r"ending in .obj or .glb; got 'body.ply'"),
        ("body", VERTICES, FACES, "ending in .obj or .glb"),
        ("body.obj", VERTICES[:, :2], FACES, r"vertices of shape \(N, 3\), at least one; got shape \(3, 2\)"),
        ("body.obj", VERTICES * np.nan, FACES, "finite vertices"),
        ("body.obj", VERTICES, FACES[:0], r"at least one; got int64 of shape \(0, 3\)"),
        ("body.obj", VERTICES, FACES[:, :2], r"got int64 of shape \(1, 2\)"),
        ("body.obj", VERTICES, FACES * 1.0, r"whole numbers, at least one; got float64"),
        ("body.obj", VERTICES, FACES + 1, "faces of vertices 0 to 2; got 1 to 3"),
        ("body.obj", VERTICES, FACES - 1, "got -1 to 1; count from 0"),
    ],
)
def test_unusable_meshes(name: str, vertices: Any, faces: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        write_mesh(name, vertices, faces)


def test_without_trimesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'edgepose\[mesh\]'"):
        write_mesh(tmp_path / "body.obj", VERTICES, FACES)
    assert not list(tmp_path.iterdir())
