# SPDX-License-Identifier: Apache-2.0
"""Poses: bones keep their lengths, joints their limits, recorded poses their angles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.training.rendering import Motion, PoseLibrary, motion_from_mocap  # noqa: E402
from edgepose.training.rendering.bones import JOINTS, LENGTHS, MIRRORED, PARENTS  # noqa: E402
from edgepose.training.rendering.motions import motion_between  # noqa: E402
from edgepose.training.rendering.pose_library import read_mocap  # noqa: E402


def generator(seed: int = 0) -> torch.Generator:
    made = torch.Generator()
    made.manual_seed(seed)
    return made


def bones_of(joints: torch.Tensor) -> torch.Tensor:
    return joints[:, 1:] - joints[:, list(PARENTS[1:])]


def bend(joints: torch.Tensor, first: str, middle: str, last: str) -> np.ndarray:
    """Angle between two bones, degrees; 0 is straight."""
    upper = joints[:, JOINTS[middle]] - joints[:, JOINTS[first]]
    lower = joints[:, JOINTS[last]] - joints[:, JOINTS[middle]]
    cosine = torch.nn.functional.cosine_similarity(upper, lower, dim=1).clamp(-1, 1)
    return np.degrees(np.arccos(cosine.numpy()))


@pytest.fixture(scope="module")
def drawn() -> torch.Tensor:
    return PoseLibrary.priors().sample(generator(), 2000)


def test_bones_have_their_lengths(drawn: torch.Tensor) -> None:
    lengths = bones_of(drawn).norm(dim=-1)
    assert drawn.shape == (2000, 22, 3) and drawn.dtype == torch.float32
    assert torch.allclose(lengths, torch.tensor(LENGTHS[1:]).expand_as(lengths), atol=1e-5)
    assert not drawn[:, 0].any()


def test_hinges_bend_within_their_range_and_one_way_only(drawn: torch.Tensor) -> None:
    for side in ("left", "right"):
        elbows = bend(drawn, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")
        knees = bend(drawn, f"{side}_hip", f"{side}_knee", f"{side}_ankle")
        assert elbows.max() < 146 and elbows.max() > 120, "elbows bend, and not further than elbows do"
        assert knees.max() < 151 and knees.max() > 120
        # A knee that points forwards sends the ankle backwards of the thigh's line, never in front of it.
        thigh = drawn[:, JOINTS[f"{side}_knee"]] - drawn[:, JOINTS[f"{side}_hip"]]
        shin = drawn[:, JOINTS[f"{side}_ankle"]] - drawn[:, JOINTS[f"{side}_knee"]]
        foot = drawn[:, JOINTS[f"{side}_foot"]] - drawn[:, JOINTS[f"{side}_ankle"]]
        bent = knees > 20
        toes = foot - (foot * shin).sum(1, keepdim=True) / (shin * shin).sum(1, keepdim=True) * shin
        assert float(((-thigh * toes).sum(1)[bent] <= 1e-3).float().mean()) > 0.95


def test_left_is_left_and_people_face_the_front(drawn: torch.Tensor) -> None:
    assert (drawn[:, JOINTS["left_hip"], 0] > drawn[:, JOINTS["right_hip"], 0]).all()
    assert (
        drawn[:, JOINTS["left_shoulder"], 0] > drawn[:, JOINTS["right_shoulder"], 0]
    ).float().mean() > 0.99
    feet = drawn[:, JOINTS["left_foot"], 2] - drawn[:, JOINTS["left_ankle"], 2]
    assert (feet > 0).float().mean() > 0.75


def test_priors_reach_sit_and_raise_their_arms(drawn: torch.Tensor) -> None:
    def offset(name: str, base: str) -> torch.Tensor:
        return drawn[:, JOINTS[name]] - drawn[:, JOINTS[base]]

    reaching = offset("left_wrist", "left_shoulder")[:, 2] > 0.4
    raised = offset("right_wrist", "head")[:, 1] > 0.1
    seated = offset("left_knee", "left_hip")[:, 2] > 0.3
    for share in (reaching, raised, seated):
        assert 0.05 < float(share.float().mean()) < 0.6


def test_recorded_poses_keep_their_angles_on_another_body(small_mocap_file: Path) -> None:
    library = PoseLibrary.from_mocap(small_mocap_file, ["02"], varied=False)
    poses = library.sample(generator(), 50)
    # They face the front however the recorded people had turned.
    across = poses[:, JOINTS["left_hip"]] - poses[:, JOINTS["right_hip"]]
    assert torch.allclose(across[:, 2], torch.zeros(50), atol=1e-3) and (across[:, 0] > 0.1).all()
    assert torch.allclose(poses[:, JOINTS["left_knee"], 0], poses[:, JOINTS["left_hip"], 0], atol=2e-3)
    feet = poses[:, JOINTS["left_foot"]] - poses[:, JOINTS["left_ankle"]]
    assert (feet[:, 2] > 0.1).all()


def test_variation_bends_bones_a_little(small_mocap_file: Path) -> None:
    plain = PoseLibrary.from_mocap(small_mocap_file, varied=False).sample(generator(), 200)
    varied = PoseLibrary.from_mocap(small_mocap_file).sample(generator(), 200)
    assert torch.allclose(bones_of(varied).norm(dim=-1), bones_of(plain).norm(dim=-1), atol=1e-4)
    off = (varied - plain).norm(dim=-1).amax(1)
    assert 0.01 < float(off.mean()) < 0.2


def test_mirrored_joints_change_sides() -> None:
    assert MIRRORED[JOINTS["left_wrist"]] == JOINTS["right_wrist"]
    assert MIRRORED[JOINTS["neck"]] == JOINTS["neck"]
    assert sorted(MIRRORED) == list(range(22))


def test_mixed_libraries_draw_from_each(small_mocap_file: Path) -> None:
    recorded = PoseLibrary.from_mocap(small_mocap_file, varied=False)
    poses = PoseLibrary.mixed((3.0, recorded), (1.0, PoseLibrary.priors())).sample(generator(), 400)
    # All recorded poses here have straight arms.
    straight = bend(poses, "left_shoulder", "left_elbow", "left_wrist") < 0.5
    assert 0.65 < straight.mean() < 0.85
    with pytest.raises(InvalidInputError, match=r"\[poses\].*shares above 0"):
        PoseLibrary.mixed((0.0, recorded))


def test_same_generator_same_poses(drawn: torch.Tensor) -> None:
    assert torch.equal(PoseLibrary.priors().sample(generator(), 2000), drawn)
    assert not torch.equal(PoseLibrary.priors().sample(generator(1), 2000), drawn)


def test_bad_mocap_files_say_what_is_wrong(tmp_path: Path, small_mocap_file: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\[mocap\].*nothing\.npz"):
        PoseLibrary.from_mocap(tmp_path / "nothing.npz")
    np.savez(tmp_path / "other.npz", joints=np.zeros((3, 17, 3)), subject=["1"] * 3, clip=["a"] * 3)
    with pytest.raises(InvalidInputError, match=r"\(3, 17, 3\)"):
        PoseLibrary.from_mocap(tmp_path / "other.npz")
    np.savez(tmp_path / "bare.npz", joints=np.zeros((3, 22, 3)))
    with pytest.raises(InvalidInputError, match="subject"):
        PoseLibrary.from_mocap(tmp_path / "bare.npz")
    with pytest.raises(InvalidInputError, match=r"'09'"):
        PoseLibrary.from_mocap(small_mocap_file, ["01", "09"])
    with pytest.raises(InvalidInputError, match=r"'01_77'"):
        read_mocap(small_mocap_file, clip="01_77")


def test_motions_are_smooth(small_mocap_file: Path) -> None:
    library = PoseLibrary.priors()
    drawn = motion_between(library, generator(), 60, 30.0)
    steps = (drawn.poses[1:] - drawn.poses[:-1]).norm(dim=-1)
    assert drawn.poses.shape == (60, 22, 3) and float(steps.max()) < 0.12
    recorded = motion_from_mocap(small_mocap_file, "01_01", 40, 30.0)
    assert recorded.poses.shape == (40, 22, 3)
    assert torch.allclose(bones_of(recorded.poses).norm(dim=-1)[0], torch.tensor(LENGTHS[1:]), atol=1e-4)
    with pytest.raises(InvalidInputError, match="at most 40"):
        recorded.sample(generator(), 41)
    assert isinstance(recorded, Motion)


def test_recorded_people_of_the_shared_file(mocap_file: Path) -> None:
    poses = PoseLibrary.from_mocap(mocap_file, ["03"], varied=False).sample(generator(), 300)
    assert (poses[:, JOINTS["head"], 1] > 0.3).all(), "all of them stand"
    knees = bend(poses, "left_hip", "left_knee", "left_ankle")
    assert np.median(knees) < 60
