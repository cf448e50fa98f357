# SPDX-License-Identifier: Apache-2.0
"""People with joints in metres: rendered frames, and converted Human3.6M, EgoBody and Harmony4D.

Note [3-D form]: one JSON file for all of them, which is the form that rendered frames are written in:

    {"images": [{"id", "file_name", "width", "height", "fx", "fy", "cx", "cy"}],
     "annotations": [{"image_id", "bbox": [x, y, width, height],
                      "joints": {name: {"xy": [x, y], "xyz": [X, Y, Z], "visible": 0, 1 or 2},
                      "id", "parts": [part, ...]}}]}

Pixels count from the centre of the top-left pixel; metres are of the camera's frame, x right, y down, z
forward. `visible` is 2 where the joint is seen, 1 where something hides it, 0 where it is outside of the
image or not annotated: such joints do not count; left out it is 2. `id` may be left out (its place in the
list), as may `parts`, the parts of the body that this person is to be asked for (all that are labelled);
published lists of frames for each part become `parts`. Names are those of `edgepose.SMPL22` (of
`edgepose.H36M17` for Human3.6M). The annotations of Human3.6M, EgoBody and Harmony4D are not public or have
other forms: whoever has them converts them to this one.

Distances and what is made of them do not belong here: see `edgepose.evaluation.space`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.evaluation.image_store import ImageStore
from edgepose.evaluation.reading import (
    digest,
    field_of,
    numbers,
    objects,
    read_bytes,
    read_json,
    whole,
    wrong,
)
from edgepose.evaluation.samples import Answer, Measures, Sample
from edgepose.evaluation.space import measure_space
from edgepose.keypoints import H36M17, canonical_name
from edgepose.skeleton import SMPL22

__all__ = ["PARTS", "Scenes"]

PARTS: Mapping[str, tuple[str, ...]] = {**SMPL22.groups, "all": SMPL22.keypoints}
"""Parts of the body to ask for: the groups that TAIHRI is evaluated on, and all 22 joints."""

_DROPPED = ("s_09_act_05_subact_02_ca", "s_09_act_10_subact_02_ca", "s_09_act_13_subact_01_ca")


class Scenes:
    """People of the 3-D form (see Note [3-D form]), asked for one part of the body at a time.

    Args:
        annotations: JSON of the 3-D form.
        images: folder or ZIP archive.
        name: `rendered`, `egobody`, `harmony4d`; or `h36m`, whose 17 joints are asked for at once, and of
            which the three sequences that the published protocol drops are left out.
        parts: keys of `PARTS`, or `all`; None for the four that are published.
        commands: words to ask with, by part, in the place of the joints' names.

    Raises:
        InvalidInputError: a file is missing or has another form; the message names the annotation.

    Source: TAIHRI, eval/eval.py, for the parts; LocLLM, utils/valid3d.py, for Human3.6M.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str],
        *,
        name: str = "rendered",
        parts: Sequence[str] | None = None,
        commands: Mapping[str, str] | None = None,
    ) -> None:
        data = read_bytes(annotations)
        value = read_json(annotations, data)
        self.name = name
        self.annotations = os.path.basename(os.fspath(annotations))
        self.sha256 = digest(data)
        self.images = ImageStore(images)
        self._parts: Mapping[str, tuple[str, ...]] = {"all": H36M17.keypoints}
        if name != "h36m":
            self._parts = _chosen_parts(parts)
        self._commands = dict(commands or {})
        for part in self._commands:
            if part not in self._parts:
                raise wrong("commands", f"parts among {', '.join(self._parts)}", part, "name one of these")
        self.options: Mapping[str, str] = {f"command {part}": text for part, text in self._commands.items()}
        self._pictures = {
            whole(field_of(item, "id", "image"), "image id"): item for item in objects(value, "images")
        }
        people = objects(value, "annotations")
        order = {number: place for place, number in enumerate(self._pictures)}
        self._dropped = 0
        found = [
            (order[item["image_id"]], sample)
            for place, item in enumerate(people)
            for sample in self._person(item, place)
        ]
        samples = [sample for _, sample in sorted(found, key=lambda pair: pair[0])]
        if len({sample.id for sample in samples}) < len(samples):
            raise InvalidInputError(
                f"[annotations] expected each id once in {os.fspath(annotations)!r}; got one twice; number "
                "the annotations anew"
            )
        if not samples:
            raise InvalidInputError(
                f"[annotations] expected people with joints of {', '.join(self._parts)}; got none in "
                f"{os.fspath(annotations)!r}; check the names of the joints"
            )
        self.samples: Sequence[Sample] = samples
        self.notes: tuple[str, ...] = tuple(self._remarks(len(people)))

    def _remarks(self, people: int) -> list[str]:
        frames = [sample.image for sample in self.samples if sample.group == self.samples[0].group]
        remarks = [
            f"{people} people, asked for {', '.join(part.replace('_', ' ') for part in self._parts)}"
            f"{' by commands' if self._commands else ''}: {len(self.samples)} questions."
        ]
        if self._dropped:
            remarks.append(f"{self._dropped} people of the three sequences that the protocol drops left out.")
        if len(set(frames)) < len(frames):
            remarks.append("Some images show several annotated people; a model of whole frames finds one.")
        return remarks

    def _person(self, item: dict[str, Any], place: int) -> list[Sample]:
        number = whole(item.get("id", place), f"annotation {place}, id")
        where = f"annotation {number}"
        image_id = whole(field_of(item, "image_id", where), f"{where}, image_id")
        if image_id not in self._pictures:
            raise wrong(f"{where}, image_id", "an image of the file", image_id, "add it to images")
        picture = self._pictures[image_id]
        file_name = str(field_of(picture, "file_name", f"image {image_id}"))
        if self.name == "h36m" and any(sequence in file_name for sequence in _DROPPED):
            self._dropped += 1
            return []
        joints = field_of(item, "joints", where)
        if not isinstance(joints, dict):
            raise wrong(f"{where}, joints", "an object of joints by name", joints, "use the 3-D form")
        asked = item.get("parts", list(self._parts))
        if not isinstance(asked, list):
            raise wrong(f"{where}, parts", "a list of parts", asked, "leave it out for all")
        box = numbers(field_of(item, "bbox", where), (4,), f"{where}, bbox")
        camera = _camera(picture, f"image {image_id}")
        samples = []
        for part, names in self._parts.items():
            found = [_joint(joints, name, where) for name in names]
            labelled = np.array([visible > 0 for _, _, visible in found])
            if part not in asked or not labelled.any():
                continue
            samples.append(
                Sample(
                    id=str(number) if len(self._parts) == 1 else f"{number}/{part}",
                    image=self.images.find(file_name),
                    keypoints=names,
                    xy=np.where(labelled[:, None], [xy for xy, _, _ in found], np.nan),
                    labelled=labelled,
                    box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                    size=float(max(box[2], box[3])),
                    camera=camera,
                    xyz=np.where(labelled[:, None], [xyz for _, xyz, _ in found], np.nan),
                    occluded=np.array([visible == 1 for _, _, visible in found]),
                    group=part,
                    command=self._commands.get(part),
                )
            )
        return samples

    def measure(self, samples: Sequence[Sample], answers: Sequence[Answer]) -> Measures:
        """See `edgepose.evaluation.Dataset`."""
        return measure_space(samples, answers, aligned=self.name == "h36m")


def _chosen_parts(parts: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    names = list(SMPL22.groups) if parts is None else list(parts)
    for name in names:
        if name not in PARTS:
            raise wrong("parts", f"some of {', '.join(PARTS)}", name, "name parts of the body")
    if not names or len(set(names)) < len(names):
        raise wrong("parts", "each part once, and at least one", names, "name parts of the body")
    return {name: PARTS[name] for name in names}


def _camera(picture: dict[str, Any], where: str) -> Camera:
    fx, fy, cx, cy = (
        float(numbers(field_of(picture, name, where), (), f"{where}, {name}"))
        for name in ("fx", "fy", "cx", "cy")
    )
    width, height = (
        whole(field_of(picture, name, where), f"{where}, {name}") for name in ("width", "height")
    )
    return Camera(fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height)


def _joint(joints: dict[str, Any], name: str, where: str) -> tuple[list[float], list[float], int]:
    spelling = canonical_name(name, joints)
    if spelling is None:
        return [np.nan] * 2, [np.nan] * 3, 0
    joint, where = joints[spelling], f"{where}, joint {spelling!r}"
    if not isinstance(joint, dict):
        raise wrong(where, "an object with xy and xyz", joint, "use the 3-D form")
    visible = whole(joint.get("visible", 2), f"{where}, visible")
    known = visible > 0
    xy = numbers(field_of(joint, "xy", where), (2,), f"{where}, xy", finite=known)
    xyz = numbers(field_of(joint, "xyz", where), (3,), f"{where}, xyz", finite=known)
    return xy.tolist(), xyz.tolist(), visible
