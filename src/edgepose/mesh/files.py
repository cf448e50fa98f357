# SPDX-License-Identifier: Apache-2.0
"""Meshes as files of other tools.

Reading them, textures and skeletons do not belong here.
"""

from __future__ import annotations

import os
from pathlib import Path

from numpy.typing import ArrayLike

from edgepose.errors import BackendUnavailableError, InvalidInputError
from edgepose.mesh.arrays import checked_faces, checked_points

__all__ = ["write_mesh"]

_FORMATS = {".obj": "obj", ".glb": "glb"}


def write_mesh(path: str | os.PathLike[str], vertices: ArrayLike, faces: ArrayLike) -> Path:
    """Write a triangle mesh, whole or not at all.

    Coordinates are written as they are, in metres. Viewers of GLB take y for up: of a mesh in the camera's
    frame, where y is down, write `vertices * (1, -1, -1)`.

    Args:
        path: ending in `.obj` or `.glb`; a file of that name is replaced.
        vertices: `(V, 3)` float, metres.
        faces: `(F, 3)` int, places of vertices, counter-clockwise seen from outside.

    Returns:
        The path.

    Raises:
        InvalidInputError: the ending is another, an array is unusable, or the place cannot be written to.
        BackendUnavailableError: trimesh is not installed.
    """
    where = Path(path)
    kind = _FORMATS.get(where.suffix.lower())
    if kind is None:
        raise InvalidInputError(
            f"[mesh] expected a path ending in {' or '.join(_FORMATS)}; got {str(where)!r}; choose one"
        )
    points = checked_points("vertices", vertices)
    triangles = checked_faces(faces, len(points))
    try:
        import trimesh
    except ImportError as error:
        raise BackendUnavailableError(
            "[mesh] expected trimesh, which writes meshes; got none; pip install 'edgepose[mesh]'"
        ) from error
    exported = trimesh.Trimesh(points, triangles, process=False).export(file_type=kind)
    data = exported.encode() if isinstance(exported, str) else bytes(exported)
    part = where.with_name(f".{where.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            os.replace(part, where)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise InvalidInputError(
            f"[mesh] expected a place that can be written to; got {str(where)!r}: {error}; check the folder"
        ) from error
    return where
