# SPDX-License-Identifier: Apache-2.0
"""The keypoints of one person: look-up, arrays, files of other tools, other frames.

How they are found does not belong here, nor how they are drawn: see `edgepose.drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import InvalidInputError
from edgepose.keypoint import Keypoint, finite_or_none
from edgepose.keypoints import COCO17, canonical_name

if TYPE_CHECKING:
    from edgepose.images import ImageSource

__all__ = ["Pose"]

_RIGID = 1e-4
"""How far a rotation's columns may be from unit length and right angles: about four digits typed by hand."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """The keypoints of one person, looked up by name, index or iteration."""

    box: tuple[float, ...]
    """(x, y, width, height), pixels of the original image: as it was passed in, or as the model answered, NaN
    where it named none."""

    keypoints: tuple[Keypoint, ...]
    """In the order in which they were asked for, or in which the model named them."""

    box_std: tuple[float, ...] = ()
    """Of x, y, width and height of a box that the model answered, pixels; empty if unknown."""

    prompt_ids: tuple[int, ...] = ()
    """Tokens of a prompt that asks about the whole person; empty where each keypoint has a question."""

    token_ids: tuple[int, ...] = ()
    """Tokens of an answer about the whole person; empty where each keypoint has an answer."""

    text: str = ""
    """Text of such an answer."""

    def __post_init__(self) -> None:
        if len(self.box_std) not in (0, 4):
            raise InvalidInputError(
                f"[pose] expected a box_std of four numbers or none; got {self.box_std!r}; pass all four"
            )
        if len(self.box) != 4:
            raise InvalidInputError(
                f"[pose] expected a box (x, y, width, height); got {self.box!r}; pass all four numbers"
            )

    @property
    def score(self) -> float:
        """Mean confidence of the keypoints, the published score of a person; NaN without keypoints."""
        return float(np.mean(self.confidence)) if self.keypoints else math.nan

    @property
    def names(self) -> tuple[str, ...]:
        """Keypoint names in order."""
        return tuple(keypoint.name for keypoint in self.keypoints)

    @property
    def xy(self) -> NDArray[np.float64]:
        """`(K, 2)` float64, pixels of the original image, in the order of `keypoints`."""
        return np.array([keypoint.xy for keypoint in self.keypoints], dtype=np.float64).reshape(-1, 2)

    @property
    def std(self) -> NDArray[np.float64]:
        """`(K, 2)` float64, pixels of the original image."""
        return np.array([keypoint.std for keypoint in self.keypoints], dtype=np.float64).reshape(-1, 2)

    @property
    def xyz(self) -> NDArray[np.float64]:
        """`(K, 3)` float64, metres, camera frame: x right, y down, z forward; NaN where not answered."""
        return np.array([keypoint.xyz for keypoint in self.keypoints], dtype=np.float64).reshape(-1, 3)

    @property
    def xyz_std(self) -> NDArray[np.float64]:
        """`(K, 3)` float64, metres."""
        return np.array([keypoint.xyz_std for keypoint in self.keypoints], dtype=np.float64).reshape(-1, 3)

    @property
    def depth(self) -> NDArray[np.float64]:
        """`(K,)` float64, millimetres, relative to the root, positive away from the camera; NaN in 2-D."""
        return np.array([keypoint.depth for keypoint in self.keypoints], dtype=np.float64)

    @property
    def depth_std(self) -> NDArray[np.float64]:
        """`(K,)` float64, millimetres."""
        return np.array([keypoint.depth_std for keypoint in self.keypoints], dtype=np.float64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """`(K,)` float64, 0 to 1."""
        return np.array([keypoint.confidence for keypoint in self.keypoints], dtype=np.float64)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """`(K,)` bool."""
        return np.array([keypoint.valid for keypoint in self.keypoints], dtype=np.bool_)

    def __getitem__(self, key: str | int) -> Keypoint:
        """A keypoint by name (`left wrist` or `left_wrist`) or by place in the order.

        Raises:
            KeyError: the pose has no keypoint of that name.
            IndexError: the pose has no keypoint at that place.
        """
        if isinstance(key, int):
            return self.keypoints[key]
        name = canonical_name(key, self.names)
        if name is None:
            raise KeyError(f"no keypoint {key!r} in this pose; it has {', '.join(self.names)}")
        return self.keypoints[self.names.index(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical_name(name, self.names) is not None

    def __iter__(self) -> Iterator[Keypoint]:
        return iter(self.keypoints)

    def __len__(self) -> int:
        return len(self.keypoints)

    def transform(self, matrix: ArrayLike) -> Pose:
        """The same pose in another frame, a robot's base for one: `xyz` becomes `R xyz + t`.

        `xyz_std` is the root of the diagonal of `R diag(xyz_std**2) R^T`. Neglected are the covariances of
        the axes: those of the model's answer, which are not known, and those that the rotation makes, for
        which there is no room; and the uncertainty of `matrix` itself. Everything in pixels stays as it is.

        Args:
            matrix: `(4, 4)` rigid motion from the camera's frame to the new one, translation in metres:
                rotation of determinant +1, translation, last row (0, 0, 0, 1).

        Raises:
            InvalidInputError: the matrix is not a rigid motion, or no keypoint of the pose is metric.

        Example:
            >>> import numpy as np
            >>> hand = Keypoint("left_wrist", np.array([320.0, 240.0]), 0.9, xyz=np.array([0.1, 0.0, 1.0]))
            >>> camera_to_base = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
            >>> Pose((0, 0, 640, 480), (hand,)).transform(camera_to_base)[0].xyz
            array([ 1.2, -0.1,  1.5])
        """
        rotation, translation = _rigid(matrix)
        if self.keypoints and not any(keypoint.metric for keypoint in self.keypoints):
            raise InvalidInputError(
                f"[transform] expected a pose with metric keypoints; got {self!r}, which is in pixels only; "
                "locate with a bundle that answers in metres"
            )
        moved = tuple(
            replace(
                keypoint,
                xyz=rotation @ keypoint.xyz + translation,
                xyz_std=np.sqrt(rotation**2 @ keypoint.xyz_std**2),
                expected_xyz=rotation @ keypoint.expected_xyz + translation,
            )
            for keypoint in self.keypoints
        )
        return replace(self, keypoints=moved)

    def to_coco(self, *, image_id: int, category_id: int = 1) -> dict[str, Any]:
        """One entry of a COCO keypoint results file.

        Args:
            image_id: id of the image in the annotation file.
            category_id: 1 is person.

        Returns:
            `image_id`, `category_id`, `score` and `keypoints`, 51 numbers x, y, confidence in COCO order; a
            number that is not finite is written as 0.

        Raises:
            InvalidInputError: the keypoints are not those of COCO in COCO's order.

        Source:
            LocLLM, utils/valid2d.py: confidence in the place of visibility, the mean of them as score.
        """
        if self.names != COCO17.keypoints:
            raise InvalidInputError(
                f"[to_coco] expected the 17 keypoints of coco17 in order; got {len(self)}: "
                f'{", ".join(self.names)}; locate with keypoints="coco17"'
            )
        rows = np.column_stack([self.xy, self.confidence])
        return {
            "image_id": image_id,
            "category_id": category_id,
            "keypoints": np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0).reshape(-1).tolist(),
            "score": finite_or_none(self.score) or 0.0,
        }

    def to_json(self, *, trace: bool = False) -> dict[str, Any]:
        """Value for `json.dumps`: box, score, keypoints; with `trace` prompt_ids, token_ids, text.

        Also box_std where it is known. Numbers that are not finite become None.
        """
        value: dict[str, Any] = {
            "box": [finite_or_none(number) for number in self.box],
            "score": finite_or_none(self.score),
            "keypoints": [keypoint.to_json(trace=trace) for keypoint in self.keypoints],
        }
        if self.box_std:
            value["box_std"] = [finite_or_none(number) for number in self.box_std]
        if trace:
            value["prompt_ids"] = list(self.prompt_ids)
            value["token_ids"] = list(self.token_ids)
            value["text"] = self.text
        return value

    def draw(
        self, image: ImageSource, *, scale: float = 1.0, labels: bool | None = None, std: bool = True
    ) -> NDArray[np.uint8]:
        """A copy of the image with box, skeleton, keypoints and their spread drawn on it.

        Args:
            image: the image that was located in, as `locate` takes it.
            scale: size of the result over that of the image; small images are easier to read enlarged.
            labels: write names beside the points, with Z in metres where it is known; None writes them where
                no skeleton fits.
            std: draw an ellipse of two standard deviations around each point.

        Returns:
            `(H * scale, W * scale, 3)` uint8 RGB.

        Raises:
            InvalidInputError: the image is unusable or `scale` is not above 0.
        """
        from edgepose.drawing import draw_poses

        return draw_poses(image, [self], scale=scale, labels=labels, std=std)

    def __repr__(self) -> str:
        answered = int(self.valid.sum())
        box = ", ".join(f"{value:g}" for value in self.box)
        return f"Pose({answered} of {len(self)} keypoints, score={self.score:.2f}, box=({box}) px)"


def _rigid(matrix: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and translation of a rigid motion, checked."""
    try:
        motion = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"[transform] expected a (4, 4) matrix of numbers; got {matrix!r}; pass a homogeneous matrix"
        ) from error
    wrong = ""
    if motion.shape != (4, 4):
        wrong = f"shape {motion.shape}; pass a homogeneous matrix"
    elif not np.isfinite(motion).all():
        wrong = f"{motion.tolist()}; pass finite numbers"
    elif np.abs(motion[3] - (0, 0, 0, 1)).max() > _RIGID:
        wrong = f"the last row {motion[3].tolist()}; transpose it if the translation is there"
    elif np.abs(motion[:3, :3] @ motion[:3, :3].T - np.eye(3)).max() > _RIGID:
        wrong = f"{motion[:3, :3].tolist()}, which scales or shears; pass a rotation, four digits at least"
    elif np.linalg.det(motion[:3, :3]) < 0:
        wrong = f"{motion[:3, :3].tolist()}, which mirrors; make the axes right-handed"
    if wrong:
        raise InvalidInputError(
            "[transform] expected a rigid motion, (4, 4): rotation, translation, last row (0, 0, 0, 1); got "
            + wrong
        )
    return motion[:3, :3], motion[:3, 3]
