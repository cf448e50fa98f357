# SPDX-License-Identifier: Apache-2.0
"""Images by the names of annotations, from folders and archives."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.errors import InvalidInputError
from edgepose.evaluation import ImageStore


@pytest.fixture
def archive(images: Path, tmp_path: Path) -> Path:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        for image in images.iterdir():
            file.write(image, f"inside/{image.name}")
        file.writestr("inside/broken.png", b"no image")
    return path


def test_folder_and_archive_hold_the_same(images: Path, archive: Path) -> None:
    folder, zipped = ImageStore(images), ImageStore(archive)
    for name in ("a.png", "b.png"):
        expected = cv2.imread(str(images / name))[..., ::-1]
        for store in (folder, zipped):
            np.testing.assert_array_equal(store.load(store.find(name)), expected)


def test_folders_of_the_author_are_dropped(images: Path, archive: Path) -> None:
    for store in (ImageStore(images), ImageStore(archive)):
        for name in ("HumanArt/images/a.png", "/data/disk/a.png", r"C:\data\a.png"):
            assert store.find(name).endswith("a.png")
    (images / "images").mkdir()
    (images / "images" / "a.png").write_bytes(b"")
    assert (
        ImageStore(images).find("HumanArt/images/a.png") == "images/a.png"
    )  # the longest that leads somewhere


def test_names_do_not_lead_out_of_the_folder(images: Path) -> None:
    (images.parent / "secret.png").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="secret"):
        ImageStore(images).find("../secret.png")


def test_what_is_missing_or_damaged(images: Path, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"expected an image 'x\.png'"):
        ImageStore(images).find("x.png")
    with pytest.raises(InvalidInputError, match="expected a folder or a ZIP archive"):
        ImageStore(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="expected a folder or a ZIP archive"):
        ImageStore(images / "a.png")
    store = ImageStore(archive)
    with pytest.raises(InvalidInputError, match=r"images\.zip:inside/broken\.png"):
        store.load(store.find("broken.png"))
    with pytest.raises(InvalidInputError, match="in the archive"):
        store.load("gone.png")
