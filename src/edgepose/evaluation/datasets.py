# SPDX-License-Identifier: Apache-2.0
"""Data sets by name.

Their forms do not belong here: each has its own module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from edgepose.errors import InvalidInputError
from edgepose.evaluation.coco import CocoKeypoints
from edgepose.evaluation.lsp import BoxRule, LeedsSports
from edgepose.evaluation.mpii import Mpii
from edgepose.evaluation.reading import objects, read_bytes, read_json
from edgepose.evaluation.samples import Dataset
from edgepose.evaluation.scenes import Scenes

__all__ = ["DATASETS", "DatasetName", "open_dataset"]

DatasetName = Literal["coco", "humanart", "mpii", "lsp", "h36m", "egobody", "harmony4d", "rendered"]
"""Kinds of data sets."""

DATASETS: tuple[str, ...] = get_args(DatasetName)
"""Their names."""


def open_dataset(
    name: DatasetName,
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    numbers: tuple[int, int] | None = None,
    box: BoxRule | None = None,
    parts: Sequence[str] | None = None,
    commands: Mapping[str, str] | None = None,
) -> Dataset:
    """Read the annotations of a data set.

    Args:
        name: `coco`, `humanart`: COCO's form, AP and AR. `mpii`: its usual JSON form, PCKh. `lsp`: Leeds
            Sports Pose, plain or extended, as a NumPy array, PCK. `h36m`, `egobody`, `harmony4d`: the 3-D
            form (see `edgepose.evaluation.scenes`), errors in millimetres. `rendered`: COCO's form or the
            3-D form, whichever the file has.
        annotations: the file.
        images: folder or ZIP archive.
        numbers: `lsp` only: see `LeedsSports`.
        box: `lsp` only: see `LeedsSports`.
        parts: 3-D form only: see `Scenes`.
        commands: 3-D form only: see `Scenes`.

    Raises:
        InvalidInputError: a file is missing or has another form, an option is not for this data set, or there
            is no data set of this name.
        BackendUnavailableError: pycocotools, which COCO's form needs, is not installed.
    """
    if name not in DATASETS:
        raise InvalidInputError(f"[eval] expected one of {', '.join(DATASETS)}; got {name!r}; choose one")
    in_space = name in ("h36m", "egobody", "harmony4d") or (name == "rendered" and _has_joints(annotations))
    given = {"numbers": numbers, "box": box, "parts": parts or None, "commands": commands or None}
    taken = {"numbers", "box"} if name == "lsp" else {"parts", "commands"} if in_space else set()
    if name == "h36m":
        taken = taken - {"parts"}
    extra = [option for option, value in given.items() if value is not None and option not in taken]
    if extra:
        raise InvalidInputError(
            f"[eval] expected no {' and no '.join(extra)} for {name}; got {given[extra[0]]!r}; leave it out"
        )
    if in_space:
        return Scenes(annotations, images, name=name, parts=parts or None, commands=commands)
    if name == "lsp":
        return LeedsSports(annotations, images, numbers=numbers, box=box or "joints")
    if name == "mpii":
        return Mpii(annotations, images)
    return CocoKeypoints(annotations, images, name=name)


def _has_joints(annotations: str | os.PathLike[str]) -> bool:
    """Whether a file is of the 3-D form rather than of COCO's."""
    value: Any = read_json(annotations, read_bytes(annotations))
    return "joints" in objects(value, "annotations")[0]
