# SPDX-License-Identifier: Apache-2.0
"""The tasks of a compact PoseLLM: crops, targets, scores, and a loss that falls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export.families.views import CLIP_MEAN, CLIP_STD  # noqa: E402
from edgepose.training.loop import Schedule, train  # noqa: E402
from edgepose.training.photographs import Augmentation, Photographs  # noqa: E402
from edgepose.training.posellm.crops import (  # noqa: E402
    NAMES,
    CropBatch,
    CropSource,
    Mixture,
    normalise,
)
from edgepose.training.posellm.places import PlacesHead, place_loss, soft_targets  # noqa: E402
from edgepose.training.posellm.scores import torso_pck  # noqa: E402
from edgepose.training.posellm.task import AnswersTask, PlacesTask  # noqa: E402

from .tiny_nano import TINY, dot_pictures  # noqa: E402


def mixture(count: int = 4) -> Mixture:
    return Mixture([(CropSource(dot_pictures(count), augmentation=None, cropped=True), 1.0)])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(kind: Any, **options: Any) -> Any:
    data = mixture()
    validation = {"dots": data.batch(4, 42, generator())}
    return kind(TINY, data, validation, size=42, batch=4, seed=0, **options)


@pytest.mark.parametrize(
    ("kind", "options"), [(PlacesTask, {}), (AnswersTask, {"questions": 2, "places_weight": 0.5})]
)
def test_a_few_steps_reduce_the_loss(tmp_path: Path, kind: Any, options: dict[str, Any]) -> None:
    task = make(kind, **options)
    one = task.batch(generator())
    task.batch = lambda generator: one
    plan = Schedule(steps=15, learning_rate=3e-3, log_every=5, precision="float32", save_every=1.0)
    log = train(task, tmp_path / "run", plan)
    values = log.series("train")["loss"][1]
    assert values[-1] < 0.8 * values[0]
    assert all(np.isfinite(value[1]).all() for value in log.series("evaluation").values())
    again = make(kind, **options)
    again.load(tmp_path / "run" / "checkpoint")
    for name, value in task.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_answers_are_trained_for_known_keypoints_alone() -> None:
    task = make(AnswersTask, questions=3)
    crops, names = task.batch(generator())
    half = make(AnswersTask, questions=3, asked=2)
    some = half.batch(generator())
    assert len(some[0].joints) == 4 and some[1].shape == (2, 3)
    assert half.loss(some)["samples"] == 4
    assert names.tolist() == [[0, -1, -1]] * 4  # the nose is all that is labelled
    assert json.dumps(task.loss((crops, names))["answers"].item())  # and empty slots do no harm


def test_a_source_draws_what_it_is_asked_for() -> None:
    source = CropSource(dot_pictures(6), augmentation=Augmentation(), cropped=True)
    mixed = Mixture([(source, 3.0), (source, 1.0)])
    batch = mixed.batch(8, 28, generator(3))
    same = mixed.batch(8, 28, generator(3))
    assert batch.images.shape == (8, 28, 28, 3) and batch.images.dtype == torch.uint8
    assert torch.equal(batch.images, same.images) and torch.equal(batch.joints, same.joints)
    assert not torch.equal(batch.images, mixed.batch(8, 28, generator(4)).images)
    assert batch.joints.shape == (8, len(NAMES), 3) and (batch.joints[:, 2:, 2] == 0).all()


def test_pictures_of_unknown_keypoints_are_refused() -> None:
    pictures = dot_pictures(2)
    odd = Photographs(("nose", "tail"), pictures.images, pictures.sizes, pictures.joints)
    with pytest.raises(InvalidInputError, match="got tail"):
        CropSource(odd, augmentation=None)
    with pytest.raises(InvalidInputError, match="at least one source"):
        Mixture([])


def test_pixels_are_normalised_as_by_the_runtime() -> None:
    from edgepose.crop import normalise as by_runtime

    images = np.random.default_rng(0).integers(0, 255, (2, 28, 28, 3)).astype(np.uint8)
    batch = CropBatch(torch.from_numpy(images), torch.zeros(2, 21, 3), torch.ones(2, 5))
    expected = np.concatenate([by_runtime(image, CLIP_MEAN, CLIP_STD) for image in images])
    np.testing.assert_allclose(normalise(batch).numpy(), expected, atol=1e-5)


def test_targets_have_their_centre_of_mass_at_the_place() -> None:
    joints = torch.rand(3, 5, 3, generator=generator()) * 0.6 + 0.2
    targets = soft_targets(joints, 6)
    torch.testing.assert_close(targets.sum(-1), torch.ones(3, 5))
    head = PlacesHead(8, 6)
    torch.testing.assert_close(head.read(targets.log()), joints[..., :2], rtol=0, atol=1e-5)
    sharp = place_loss(targets.log().clamp(min=-30), joints, 6)
    assert sharp < place_loss(torch.zeros(3, 5, 36), joints, 6)


def test_score_counts_known_keypoints_within_a_fifth_of_the_torso() -> None:
    joints = torch.zeros(3, len(NAMES), 3)
    shoulder, hip, nose = (NAMES.index(name) for name in ("left shoulder", "right hip", "nose"))
    joints[:2, shoulder] = torch.tensor([0.2, 0.2, 1.0])
    joints[:2, hip] = torch.tensor([0.2, 0.7, 1.0])  # a torso of a half
    joints[:, nose] = torch.tensor([0.5, 0.5, 1.0])
    answered = joints[..., :2].clone()
    answered[0, nose, 0] += 0.09
    answered[1, nose, 0] += 0.11
    answered[2, nose, 0] += 0.01  # a person without a torso does not count
    assert torso_pck(answered, joints) == pytest.approx(5 / 6)
