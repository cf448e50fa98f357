# SPDX-License-Identifier: Apache-2.0
"""One frame, one question, one answer about one person: joints in the image and in metres, as bin tokens.

Note [pixel origin]: what bins mean in pixels is published as shares of the frame, `u = bin / 999 * width` and
`x = (u + left) / scale`, and results are exactly that. Whether the training data counted pixels from centres
or from corners is not known; the difference is half a pixel of the image, less than a bin of most frames.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepose._core import Answer, BinCodec, BlockCodec, Form
from edgepose.bundle import BinCodecSpec, Bundle
from edgepose.errors import InvalidInputError
from edgepose.frame import FocalFrame
from edgepose.gpu_frames import CutPatches, GpuFrame
from edgepose.keypoint_argument import KeypointsArgument
from edgepose.keypoint_set import KeypointSet
from edgepose.keypoints import canonical_name, keypoint_set
from edgepose.patches import grid_positions, grid_rope, patchify
from edgepose.prompts import Prompt, build_prompt
from edgepose.questions import Inquiry
from edgepose.questions.block_answers import JointAnswer, PersonAnswer, Share, read_form, read_text
from edgepose.results import Keypoint, Pose
from edgepose.token_bytes import TokenBytes

if TYPE_CHECKING:
    from edgepose.camera import Camera
    from edgepose.crop import SquareCrop

__all__ = ["FrameQuestions"]

_GRIDS_KEPT = 8


class FrameQuestions:
    """See `edgepose.questions.Questions`."""

    def __init__(self, bundle: Bundle, spec: BinCodecSpec, *, exact: bool) -> None:
        manifest = bundle.manifest
        assert manifest.frame is not None and manifest.vision.grid is not None  # a sound manifest has both
        self._frame, self._grid = manifest.frame, manifest.vision.grid
        self._bundle = bundle
        self._spec = spec
        self._exact = exact
        self._names = tuple(spec.joints)
        self._codec = BlockCodec(
            bins=spec.bins,
            joints=list(spec.joints.values()),
            markers=spec.markers,
            end=spec.end,
            blocks=spec.layout.blocks,
            separators=spec.layout.separators,
        )
        self._numbers = BinCodec(low=0.0, high=1.0, tokens=spec.bins)
        self._bins = frozenset(spec.bins)
        self._tokens = TokenBytes(bundle.tokenizer)
        self._positions = functools.lru_cache(_GRIDS_KEPT)(self._make_positions)

    @property
    def alphabets(self) -> list[list[int]]:
        """See `edgepose.questions.Questions`."""
        return self._codec.alphabets

    def locate(
        self,
        image: NDArray[np.uint8] | GpuFrame,
        *,
        boxes: Sequence[Sequence[float] | SquareCrop] | None,
        keypoints: KeypointsArgument,
        camera: Camera | None,
    ) -> list[Inquiry]:
        """See `edgepose.questions.Questions`."""
        if boxes is not None:
            raise InvalidInputError(
                f"[boxes] expected none for a {self._bundle.manifest.family} bundle, which finds the person "
                f"in the whole frame; got {boxes!r}; leave them out, or cut the image and its camera "
                "(Camera.crop) to one person"
            )
        joints = self._joints(keypoints)
        wording = self._bundle.manifest.prompt.asked
        assert wording is not None  # exporters of this codec write it
        names = [self._names[joint] for joint in joints]
        question = wording.replace("{names}", ", ".join(names))
        return [self._inquiry(image, camera, question, self._codec.asked(joints), names)]

    def ask(
        self, image: NDArray[np.uint8] | GpuFrame, command: str, *, camera: Camera | None
    ) -> list[Inquiry]:
        """See `edgepose.questions.Questions`."""
        if not isinstance(command, str) or not command.strip():
            raise InvalidInputError(
                f"[ask] expected a command in words; got {command!r}; "
                'say what to do, for example "Please shake my hand"'
            )
        return [self._inquiry(image, camera, command, self._codec.free(), [])]

    def _inquiry(
        self,
        image: NDArray[np.uint8] | GpuFrame,
        camera: Camera | None,
        question: str,
        form: Form,
        asked: Sequence[str],
    ) -> Inquiry:
        height, width = image.shape[:2]
        if camera is None:
            raise InvalidInputError(
                "[camera] expected the camera that took the image, for places in metres; got none; pass "
                f"camera=Camera(fx=..., fy=..., cx=..., cy=..., width={width}, height={height}) from its "
                "calibration"
            )
        camera.check_image((width, height))
        spec = self._frame
        frame = FocalFrame(
            (width, height),
            (camera.fx, camera.fy),
            (camera.cx, camera.cy),
            canonical_focal=spec.canonical_focal,
            crop=spec.crop,
            factor=spec.factor,
            min_pixels=spec.min_pixels,
            max_pixels=spec.max_pixels,
        )
        model_width, model_height = frame.model_size
        rows, cols = model_height // spec.patch_size, model_width // spec.patch_size

        def see() -> Mapping[str, NDArray[np.generic] | CutPatches]:
            if isinstance(image, GpuFrame):
                cut = CutPatches(image, camera, frame, spec.patch_size, spec.merge, spec.mean, spec.std)
                return {"patches": cut, **self._positions(rows, cols)}
            seen = frame.apply(camera.undistort(image) if camera.is_distorted else image)
            patches = patchify(
                seen, patch_size=spec.patch_size, merge=spec.merge, mean=spec.mean, std=spec.std
            )
            return {"patches": patches, **self._positions(rows, cols)}

        values = [{"question": question}]
        manifest = self._bundle.manifest
        prompt = build_prompt(manifest.prompt, self._bundle.tokenizer, values, image=frame.image_tokens)

        def read(answers: Sequence[Answer]) -> Pose:
            return self._pose(answers[0], frame, camera, prompt, asked)

        def draft(pose: Pose, crop: SquareCrop | None) -> Sequence[Sequence[int]]:
            return [pose.token_ids]

        return Inquiry(see, prompt, form, read, draft, (rows // spec.merge, cols // spec.merge))

    def _make_positions(self, rows: int, cols: int) -> dict[str, NDArray[np.generic]]:
        merge, grid = self._frame.merge, self._grid
        indices, weights = grid_positions(rows, cols, merge=merge, table_side=grid.table_side)
        cos, sin = grid_rope(rows, cols, merge=merge, head_dim=grid.head_dim, theta=grid.rope_theta)
        return {"position_indices": indices, "position_weights": weights, "cos": cos, "sin": sin}

    def _joints(self, keypoints: KeypointsArgument) -> list[int]:
        """Places in the bundle's list of joints."""
        if keypoints is None:
            keypoints = self._bundle.manifest.keypoints.default
        if isinstance(keypoints, str):
            keypoints = keypoint_set(keypoints)
        names = keypoints.keypoints if isinstance(keypoints, KeypointSet) else keypoints
        joints = []
        for name in names if isinstance(names, Iterable) else [names]:
            spelling = canonical_name(name, self._names) if isinstance(name, str) else None
            if spelling is None or isinstance(names, Mapping):
                raise InvalidInputError(
                    f"[keypoints] expected names of joints that this bundle has a token for "
                    f"({', '.join(self._names)}); got {name!r}; choose among these, or describe the purpose "
                    "with ask(image, command)"
                )
            joints.append(self._names.index(spelling))
        if not joints or len(set(joints)) < len(joints):
            raise InvalidInputError(
                f"[keypoints] expected each joint once, and at least one; got {keypoints!r}; "
                "pass None for all"
            )
        return joints

    def _pose(
        self, answer: Answer, frame: FocalFrame, camera: Camera, prompt: Prompt, asked: Sequence[str]
    ) -> Pose:
        person: PersonAnswer
        if self._exact:
            pieces = self._tokens.pieces(answer.tokens)
            person = read_text(pieces, answer, self._numbers, self._bins, self._names)
        else:
            person = read_form(answer, self._codec, self._names)
        said = {joint.name: joint for joint in person.joints}
        nothing = {name: JointAnswer(name, (), (), math.nan) for name in asked}
        place = _Place(self._spec, frame, camera)
        return Pose(
            box=place.box(person.box),
            box_std=place.box_std(person.box),
            keypoints=tuple(place.keypoint(joint) for joint in {**nothing, **said}.values()),
            prompt_ids=prompt.written(0, self._bundle.manifest.prompt.image_token),
            token_ids=tuple(answer.tokens),
            text=self._tokens.text(answer.tokens),
        )


class _Place:
    """From shares of the ranges to pixels of the image and metres in front of its camera."""

    def __init__(self, spec: BinCodecSpec, frame: FocalFrame, camera: Camera) -> None:
        self._frame = frame
        self._camera = camera
        self._size = np.array(frame.crop_size, dtype=np.float64)
        self._low = np.array([spec.x[0], spec.y[0], spec.z[0]])
        self._span = np.array([spec.x[1], spec.y[1], spec.z[1]]) - self._low
        self._pixel = frame.to_image((1.0, 1.0)) - frame.to_image((0.0, 0.0))

    def keypoint(self, joint: JointAnswer) -> Keypoint:
        """One joint; NaN where the answer says nothing."""
        xy, xyz = self._xy(joint.xy, "value"), self._xyz(joint.xyz, "value")
        return Keypoint(
            name=joint.name,
            xy=xy,
            confidence=joint.confidence,
            std=_values(joint.xy, "deviation", 2) * self._size * self._pixel,
            valid=bool(joint.xy) and bool(joint.xyz) and all(share.inside for share in joint.xyz),
            expected_xy=self._xy(joint.xy, "expected"),
            metric=True,
            xyz=xyz,
            xyz_std=self._xyz_std(joint.xyz),
            expected_xyz=self._xyz(joint.xyz, "expected"),
            reprojection_error=float(np.linalg.norm(self._camera.project(xyz) - xy))
            if xyz[2] > 0
            else math.nan,
        )

    def box(self, shares: Sequence[Share]) -> tuple[float, ...]:
        """(x, y, width, height), pixels of the image; NaN without a box."""
        if not shares:
            return (math.nan,) * 4
        first, last = (self._xy(shares[start : start + 2], "value") for start in (0, 2))
        return tuple(map(float, (*first, *(last - first))))

    def box_std(self, shares: Sequence[Share]) -> tuple[float, ...]:
        """Spread of (x, y, width, height), pixels of the image; empty without a box."""
        if not shares:
            return ()
        first, last = (
            _values(shares[start : start + 2], "deviation", 2) * self._size * self._pixel for start in (0, 2)
        )
        return tuple(map(float, (*first, *np.hypot(first, last))))

    def _xy(self, shares: Sequence[Share], field: str) -> NDArray[np.float64]:
        xy = self._frame.to_image(_values(shares, field, 2) * self._size)
        return self._camera.distort_points(xy) if self._camera.is_distorted else xy

    def _xyz(self, shares: Sequence[Share], field: str) -> NDArray[np.float64]:
        return self._frame.to_camera(self._low + _values(shares, field, 3) * self._span)

    def _xyz_std(self, shares: Sequence[Share]) -> NDArray[np.float64]:
        """Axis by axis; what the principal point carries over from depth into X and Y is in it."""
        std = _values(shares, "deviation", 3) * self._span
        lean = self._frame.to_camera((0.0, 0.0, 1.0))[:2]
        return np.array([*np.hypot(std[:2], lean * std[2]), std[2]])


def _values(shares: Sequence[Share], field: str, count: int) -> NDArray[np.float64]:
    if not shares:
        return np.full(count, np.nan)
    return np.array([getattr(share, field) for share in shares], dtype=np.float64)
