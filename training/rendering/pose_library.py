# SPDX-License-Identifier: Apache-2.0
"""Where poses come from: motion capture, joint-limit priors, or shares of both.

Bodies and cameras do not belong here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgepose.errors import InvalidInputError
from edgepose.training.rendering.bones import JOINTS, MIRRORED, directions_of, joints_of
from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.pose_priors import draw_directions
from edgepose.training.rendering.vectors import frame_of, unit

__all__ = ["PoseLibrary", "Poses", "facing_front", "read_mocap"]

_ARMS = [
    JOINTS[f"{side}_{part}"]
    for side in ("left", "right")
    for part in ("collar", "shoulder", "elbow", "wrist")
]


class Poses(Protocol):
    """What scenes take poses from."""

    def sample(self, generator: torch.Generator, n: int) -> Tensor:
        """`(n, 22, 3)` metres, frame of `PoseLibrary`."""
        ...


@dataclass(frozen=True, slots=True)
class _Source:
    """One source of poses and how often it is drawn."""

    share: float
    directions: Tensor | None
    """`(M, 22, 3)`; None for the priors."""
    varied: bool


class PoseLibrary:
    """Draws poses. Frame of the body: x to its left, y up, z to its front; the hips face the front."""

    def __init__(self, sources: Sequence[_Source]) -> None:
        self._sources = tuple(sources)

    @classmethod
    def from_mocap(
        cls, path: str | os.PathLike[str], subjects: Sequence[str] | None = None, *, varied: bool = True
    ) -> PoseLibrary:
        """Recorded poses, half of them mirrored, on bodies that are not the recorded people's.

        Args:
            path: an `.npz` file as `read_mocap` takes it.
            subjects: which people's; None for everybody's.
            varied: bend every bone a little (3 degrees) and, for a third of the poses, take the arms of
                another one. False keeps the recorded directions of the bones.

        Raises:
            InvalidInputError: as `read_mocap`.
        """
        joints, _ = read_mocap(path, subjects)
        return cls([_Source(1.0, directions_of(facing_front(joints, joints)), varied)])

    @classmethod
    def priors(cls) -> PoseLibrary:
        """Poses within the limits of human joints."""
        return cls([_Source(1.0, None, False)])

    @classmethod
    def mixed(cls, *parts: tuple[float, PoseLibrary]) -> PoseLibrary:
        """Poses of several libraries.

        Args:
            parts: (share, library); shares are relative to each other.

        Raises:
            InvalidInputError: there is no part, or a share is not above 0.
        """
        shares = [share for share, _ in parts]
        if not shares or not all(share > 0 for share in shares):
            raise InvalidInputError(
                f"[poses] expected (share, library) pairs with shares above 0; got shares {shares}; "
                "leave out libraries that are not wanted"
            )
        sources = [
            _Source(share * part.share / sum(p.share for p in library._sources), part.directions, part.varied)
            for share, library in parts
            for part in library._sources
        ]
        return cls(sources)

    @classmethod
    def for_evaluation(
        cls,
        mocap: str | os.PathLike[str] | None = None,
        subjects: Sequence[str] | None = None,
        priors: float | None = None,
    ) -> PoseLibrary:
        """Recorded poses as they were recorded, a share of priors among them.

        Args:
            mocap: file as `from_mocap` takes it; None for priors alone.
            subjects: which people's; None for everybody's.
            priors: share of priors, 0 to 1; None for none where there is a file.

        Raises:
            InvalidInputError: as `read_mocap`.
        """
        if mocap is None or priors == 1:
            return cls.priors()
        recorded = cls.from_mocap(mocap, subjects, varied=False)
        return cls.mixed((1 - priors, recorded), (priors, cls.priors())) if priors else recorded

    def sample(self, generator: torch.Generator, n: int) -> Tensor:
        """Draw poses of the nominal body.

        Args:
            generator: of the CPU.
            n: how many.

        Returns:
            `(n, 22, 3)` float32, metres, pelvis at the origin, SMPL order, frame of the class.
        """
        draws = Draws(generator)
        chosen = draws.choice((n,), [source.share for source in self._sources])
        poses = torch.zeros(n, 22, 3, device="cpu")
        for place, source in enumerate(self._sources):
            where = (chosen == place).nonzero()[:, 0]
            if len(where):
                poses[where] = _drawn(draws, source, len(where))
        return joints_of(poses)


def read_mocap(
    path: str | os.PathLike[str], subjects: Sequence[str] | None = None, clip: str | None = None
) -> tuple[Tensor, list[str]]:
    """Recorded poses in order.

    Args:
        path: `.npz` with `joints` (M, 22, 3) in metres, y up, pelvis at the origin, SMPL order; `subject` and
            `clip` (M,) texts.
        subjects: which people's; None for everybody's.
        clip: only this clip; None for all.

    Returns:
        `(M', 22, 3)` float32 and the clip of each pose.

    Raises:
        InvalidInputError: the file is missing or has another form, or holds nobody and nothing of the kind.
    """
    file = Path(path)
    try:
        with np.load(file, allow_pickle=False) as stored:
            joints = np.asarray(stored["joints"], dtype=np.float32)
            people = [str(name) for name in stored["subject"]]
            clips = [str(name) for name in stored["clip"]]
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInputError(
            f"[mocap] expected an .npz file with joints, subject and clip; got {str(file)!r} ({error}); "
            "pass the path of the motion capture file"
        ) from error
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or not len(joints) == len(people) == len(clips):
        raise InvalidInputError(
            f"[mocap] expected joints (M, 22, 3) with one subject and clip each; got "
            f"{joints.shape}, {len(people)} and {len(clips)} in {str(file)!r}; bring them into SMPL order"
        )
    wanted = None if subjects is None else set(subjects)
    kept = [
        place
        for place, (person, name) in enumerate(zip(people, clips, strict=True))
        if (wanted is None or person in wanted) and clip in (None, name)
    ]
    unknown = sorted((wanted or set()) - set(people))
    if not kept or unknown:
        raise InvalidInputError(
            f"[mocap] expected subjects among {sorted(set(people))} and a clip among {sorted(set(clips))}; "
            f"got {None if wanted is None else sorted(wanted)} and {clip!r}; take names of the file"
        )
    return torch.from_numpy(joints[kept]), [clips[place] for place in kept]


def facing_front(reference: Tensor, joints: Tensor) -> Tensor:
    """Poses turned about the vertical so that the hips of `reference` face z.

    Args:
        reference: `(M, 22, 3)` or one for all, `(1, 22, 3)`.
        joints: `(M, 22, 3)`.
    """
    across = reference[:, JOINTS["left_hip"]] - reference[:, JOINTS["right_hip"]]
    across = across * across.new_tensor([1.0, 0.0, 1.0])
    frames = frame_of(across, across.new_tensor([0.0, 1.0, 0.0]).expand_as(across))
    return joints @ frames


def _drawn(draws: Draws, source: _Source, count: int) -> Tensor:
    """`(count, 22, 3)` directions of bones of one source."""
    if source.directions is None:
        return draw_directions(draws, count)
    stored = source.directions
    places = torch.randint(len(stored), (count,), generator=draws.generator, device="cpu")
    poses = stored[places].clone()
    if source.varied:
        others = stored[torch.randint(len(stored), (count,), generator=draws.generator, device="cpu")]
        swapped = draws.chance((count,), 1 / 3).nonzero()[:, 0]
        poses[swapped] = _with_arms(poses[swapped], others[swapped])
        noise = draws.normal((count, 22, 3), 0.05)
        poses = torch.where(poses.abs().sum(-1, keepdim=True) > 0, unit(poses + noise), poses)
    flipped = draws.chance((count,), 0.5)[:, None, None]
    mirror = poses[:, list(MIRRORED)] * poses.new_tensor([-1.0, 1.0, 1.0])
    return torch.where(flipped, mirror, poses)


def _with_arms(poses: Tensor, others: Tensor) -> Tensor:
    """The poses with the arms of others, held against the chest as the others hold them."""

    def chest(bones: Tensor) -> Tensor:
        joints = joints_of(bones)
        across = joints[:, JOINTS["left_shoulder"]] - joints[:, JOINTS["right_shoulder"]]
        return frame_of(across, bones[:, JOINTS["spine3"]])

    carried = others[:, _ARMS] @ chest(others) @ chest(poses).transpose(1, 2)
    mixed = poses.clone()
    mixed[:, _ARMS] = carried
    return mixed
