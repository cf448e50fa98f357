# SPDX-License-Identifier: Apache-2.0
"""Crops: joints lie where the body is, the crop is edgepose's own, one seed gives one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from edgepose.crop import SquareCrop  # noqa: E402
from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.keypoints import COCO17, MPII16  # noqa: E402
from edgepose.training.rendering import CropBatch, People, PoseLibrary, Stage, contact_sheet, render_crops  # noqa: E402
from edgepose.training.rendering.crops import crop_maps  # noqa: E402
from edgepose.training.rendering.draws import Draws  # noqa: E402
from edgepose.training.rendering.splits import (  # noqa: E402
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    evaluation_seed,
    training_seed,
)

SIZE = 112


@pytest.fixture(scope="module")
def batch() -> CropBatch:
    return render_crops(3, 24, size=SIZE, poses=PoseLibrary.priors())


def test_shapes_and_types(batch: CropBatch) -> None:
    assert batch.images.shape == (24, SIZE, SIZE, 3) and batch.images.dtype == torch.uint8
    for points, count in ((batch.joints, 22), (batch.coco17, 17), (batch.mpii16, 16)):
        assert points.shape == (24, count, 3) and points.dtype == torch.float32
        assert points.isfinite().all() and set(points[..., 2].unique().tolist()) <= {0.0, 1.0, 2.0}
        inside = ((points[..., :2] >= 0) & (points[..., :2] < SIZE)).all(-1)
        assert inside[points[..., 2] > 0].all()


def test_one_seed_one_picture(batch: CropBatch) -> None:
    again = render_crops(3, 24, size=SIZE, poses=PoseLibrary.priors())
    for name in CropBatch.__slots__:
        assert torch.equal(getattr(batch, name), getattr(again, name))
    other = render_crops(4, 24, size=SIZE, poses=PoseLibrary.priors())
    assert not torch.equal(batch.images, other.images)


def test_every_tensor_is_made_on_a_device_that_was_named(batch: CropBatch) -> None:
    """A tensor that a function forgot to place would be one without data here, and an error on a GPU."""
    poses = PoseLibrary.priors()
    torch.set_default_device("meta")
    try:
        again = render_crops(3, 24, size=SIZE, poses=poses)
    finally:
        torch.set_default_device(None)
    assert torch.equal(batch.images, again.images)


def test_pictures_are_of_people_in_light(batch: CropBatch) -> None:
    assert (batch.joints[..., 2] > 0).sum(1).float().mean() > 14
    share = (batch.joints[..., 2] == 2).float().sum() / (batch.joints[..., 2] > 0).float().sum()
    assert 0.5 < float(share) < 0.98
    brightness = batch.images.float().mean((1, 2, 3))
    assert (brightness > 15).all() and (brightness < 240).all()
    assert (batch.images.float().std((1, 2, 3)) > 10).all()


def test_joints_of_all_sets_agree(batch: CropBatch) -> None:
    coco = {name: batch.coco17[:, place] for place, name in enumerate(COCO17.keypoints)}
    mpii = {name: batch.mpii16[:, place] for place, name in enumerate(MPII16.keypoints)}
    for name in ("left shoulder", "right elbow", "left wrist", "right knee", "left ankle", "left hip"):
        assert torch.equal(coco[name][:, :2], mpii[name][:, :2])
    middle = (mpii["left hip"] + mpii["right hip"]) / 2
    assert (mpii["pelvis"] - middle)[:, :2].abs().max() < 4  # a perspective camera moves the middle a little
    between = (coco["left ear"] + coco["right ear"])[:, :2] / 2
    assert (
        (between - mpii["neck"][:, :2]).norm(dim=1)
        < (mpii["thorax"] - mpii["head_top"])[:, :2].norm(dim=1) + 6
    ).all()


def test_crop_without_augmentation_is_the_runtime_s() -> None:
    outlines = torch.tensor([[100.0, 50.0, 180.0, 250.0], [-40.0, 300.0, 700.0, 500.0]])
    sizes = torch.tensor([[640.0, 480.0], [640.0, 480.0]])

    class Still(Draws):
        def normal(self, shape: object, sigma: float = 1.0, limit: float = 2.5) -> torch.Tensor:
            return torch.zeros(*shape)  # type: ignore[misc]

    maps = crop_maps(Still(0), outlines, sizes, 168, augment=False)
    for place, (x0, y0, x1, y1) in enumerate(outlines.tolist()):
        expected = SquareCrop.from_box((x0, y0, min(x1, 639) - x0 + 1, y1 - y0 + 1), (640, 480))
        if x0 < 0:  # the annotation of a person whom the image's edge cuts holds the visible part only
            expected = SquareCrop.from_box((0, y0, 640, min(y1, 479) - y0 + 1), (640, 480))
        assert maps[place, :2].numpy() == pytest.approx(expected.matrix(168), abs=2e-3)


def test_augmentation_turns_half_and_scales_within_its_range() -> None:
    outlines = torch.tensor([[200.0, 100.0, 300.0, 300.0]]).repeat(2000, 1)
    sizes = torch.tensor([[640.0, 480.0]]).repeat(2000, 1)
    maps = crop_maps(Draws(0), outlines, sizes, 168, augment=True)
    zoom = torch.linalg.det(maps[:, :2, :2]).sqrt()
    turned = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]) * 180 / torch.pi
    scale = 168 / 200 / zoom
    assert 0.44 < float((turned != 0).float().mean()) < 0.56 and float(turned.abs().max()) <= 40
    assert 0.6 < float(scale.min()) and float(scale.max()) < 1.42
    clipped = ((scale < 0.74) | (scale > 1.26)).float().mean()
    assert 0.2 < float(clipped) < 0.5, "a normal of 0.3 is often clipped"


def test_a_head_in_the_picture_shows_left_and_right() -> None:
    """People who face the camera have their left on the picture's right, others the other way round."""
    stage = Stage(company=(1.0,), occluded=0.0, facing=1.0, tumbled=0.0)
    batch = render_crops(5, 32, size=64, poses=PoseLibrary.priors(), stage=stage, augment=False)
    names = list(COCO17.keypoints)
    left, right = (
        batch.coco17[:, names.index("left shoulder")],
        batch.coco17[:, names.index("right shoulder")],
    )
    nose, ears = batch.coco17[:, 0], (batch.coco17[:, 3] + batch.coco17[:, 4]) / 2
    faces = (nose[:, 2] == 2) & (batch.coco17[:, 1, 2] == 2) & (batch.coco17[:, 2, 2] == 2)
    assert int(faces.sum()) > 8
    assert ((left - right)[faces, 0] > 0).float().mean() > 0.85
    assert ((nose - ears)[faces, 1]).median() > -1


def test_people_may_be_alike_and_nonsense_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\[people\].*stature_spread.*0\.9"):
        People(stature_spread=0.9)
    with pytest.raises(InvalidInputError, match=r"\[people\].*170"):
        People(stature=170)
    with pytest.raises(InvalidInputError, match=r"\[stage\].*occluded.*7"):
        Stage(occluded=7)
    with pytest.raises(InvalidInputError, match=r"\[stage\].*company \(\)"):
        Stage(company=())
    with pytest.raises(InvalidInputError, match=r"\[render\].*count 0"):
        render_crops(0, 0, poses=PoseLibrary.priors())
    with pytest.raises(InvalidInputError, match=r"\[render\].*size 8"):
        render_crops(0, 1, size=8, poses=PoseLibrary.priors())


def test_training_never_draws_an_evaluation_set() -> None:
    assert evaluation_seed(0) == TRAINING_SEEDS
    seeds = {training_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000 and max(seeds) < TRAINING_SEEDS
    torch.Generator().manual_seed(evaluation_seed(EVALUATION_SEEDS - 1))
    with pytest.raises(InvalidInputError, match="-1"):
        evaluation_seed(-1)
    with pytest.raises(InvalidInputError, match="-3"):
        training_seed(0, -3)


def test_contact_sheet(batch: CropBatch, tmp_path: Path) -> None:
    path = contact_sheet(batch.images, 8, tmp_path / "contact_sheet.png", batch.joints)
    with Image.open(path) as sheet:
        assert sheet.size == (8 * SIZE, 3 * SIZE)
        pixels = np.asarray(sheet)
    assert (pixels == (0, 255, 90)).all(-1).sum() > 100, "dots of visible joints"
    plain = contact_sheet(batch.images, 8, tmp_path / "plain.png")
    with Image.open(plain) as sheet:
        assert np.array_equal(np.asarray(sheet)[:SIZE, :SIZE], batch.images[0].numpy())
    build = Path(__file__).resolve().parents[2] / "build"
    if build.is_dir():
        contact_sheet(batch.images, 8, build / "contact_sheet.png", batch.joints)
    with pytest.raises(InvalidInputError, match=r"\[contact sheet\]"):
        contact_sheet(batch.images[:0], 8, tmp_path / "empty.png")
