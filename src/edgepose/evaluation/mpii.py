# SPDX-License-Identifier: Apache-2.0
"""MPII Human Pose in its usual JSON form, and PCKh.

Note [MPII head boxes]: PCKh divides by 0.6 of the diagonal of a person's head box. The usual JSON form
(`image`, `center`, `scale`, `joints`, `joints_vis`) has no head box; the usual evaluation takes it from a
MATLAB file. It can be read off the joints, though: `upper neck` and `head top` were
laid through its centre, 0.8 of its diagonal apart: in the records looked at, their distance squared over 0.64
is a whole number each time and the sum of the squares of two whole sides, and their middle is the middle of a
box with such sides. So the head size is 0.6 / 0.8 = 0.75 of the distance of these two joints. A record may
also have a field `head_box` `[x1, y1, x2, y2]`, which is then used.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.crop import SquareCrop
from edgepose.evaluation.image_store import ImageStore
from edgepose.evaluation.metrics import Pck, distances, pck
from edgepose.evaluation.reading import digest, field_of, numbers, objects, read_bytes, read_json, wrong
from edgepose.evaluation.samples import Answer, Measures, Sample, Table
from edgepose.keypoints import MPII16

__all__ = ["Mpii", "mpii_square"]

_NECK, _HEAD_TOP = (MPII16.keypoints.index(name) for name in ("neck", "head_top"))
_TRUNK = ("pelvis", "thorax")
_UNTRAINED = (*_TRUNK, "neck", "head_top")
_HEAD_SHARE = 0.6
_BETWEEN_HEAD_JOINTS = 0.8
_ROWS = {
    "head": ("head_top",),
    "shoulder": ("left shoulder", "right shoulder"),
    "elbow": ("left elbow", "right elbow"),
    "wrist": ("left wrist", "right wrist"),
    "hip": ("left hip", "right hip"),
    "knee": ("left knee", "right knee"),
    "ankle": ("left ankle", "right ankle"),
}
_THRESHOLDS = (0.5, 0.1)


def mpii_square(center: Sequence[float], scale: float) -> SquareCrop:
    """The square that the published evaluation cuts around a person of MPII.

    Args:
        center: (x, y) of the annotation, pixels counted from 1.
        scale: of the annotation: the person's height over 200 px.

    Returns:
        `200 * 1.25 * scale` px wide, its centre moved down by `15 * scale` px, counted from 0, clipped
        nowhere.

    Source: LocLLM, utils/valid2dmpii.py.
    """
    x, y = (float(value) for value in center)
    if x != -1:  # the annotation's mark of a person without a centre
        y, scale = y + 15 * scale, scale * 1.25
    return SquareCrop(x - 1, y - 1, 200 * scale)


class Mpii:
    """People of MPII with their 16 joints, measured by PCKh.

    Annotations count pixels from 1; samples, as all of edgepose, from 0.

    Args:
        annotations: JSON, a list of `{"image", "center", "scale", "joints", "joints_vis"}`; `head_box` may
            be added, see Note [MPII head boxes].
        images: folder or ZIP archive.

    Raises:
        InvalidInputError: a file is missing or has another form; the message names the record.
    """

    name = "mpii"

    def __init__(self, annotations: str | os.PathLike[str], images: str | os.PathLike[str]) -> None:
        data = read_bytes(annotations)
        records = objects(read_json(annotations, data), "")
        self.annotations = os.path.basename(os.fspath(annotations))
        self.sha256 = digest(data)
        self.images = ImageStore(images)
        self.options: Mapping[str, str] = {}
        # In the order of the file a person's number is its place there; people of an image come together.
        samples = [self._sample(record, place) for place, record in enumerate(records)]
        first = {sample.image: place for place, sample in reversed(list(enumerate(samples)))}
        self.samples: Sequence[Sample] = sorted(samples, key=lambda sample: first[sample.image])
        measured = [sample for sample in samples if sample.size > 0]
        boxes = sum("head_box" in record for record in records)
        self.notes: tuple[str, ...] = (
            f"Head size of {boxes} people from their head box, of {len(measured) - boxes} from the distance "
            "of upper neck and head top, which is 0.8 of the box's diagonal; "
            f"{len(samples) - len(measured)} have neither and do not count.",
        )

    def _sample(self, record: dict[str, Any], place: int) -> Sample:
        where = f"record {place}"
        joints = numbers(field_of(record, "joints", where), (len(MPII16), 2), f"{where}, joints") - 1
        known = numbers(field_of(record, "joints_vis", where), (len(MPII16),), f"{where}, joints_vis") > 0
        center = numbers(field_of(record, "center", where), (2,), f"{where}, center")
        scale = float(numbers(field_of(record, "scale", where), (), f"{where}, scale"))
        if scale <= 0:
            raise wrong(f"{where}, scale", "a number above 0", scale, "mend the annotation")
        return Sample(
            id=str(place),
            image=self.images.find(str(field_of(record, "image", where))),
            keypoints=MPII16.keypoints,
            xy=np.where(known[:, None], joints, np.nan),
            labelled=known,
            box=mpii_square(center.tolist(), scale),
            size=_head_size(record, joints, known, where),
        )

    def measure(self, samples: Sequence[Sample], answers: Sequence[Answer]) -> Measures:
        """See `edgepose.evaluation.Dataset`."""
        distance = np.array([distances(a.xy, s.xy) for s, a in zip(samples, answers, strict=True)])
        size = np.array([sample.size for sample in samples])
        labelled = np.array([sample.labelled for sample in samples])
        names = MPII16.keypoints
        trained = np.array([name not in _UNTRAINED for name in names])
        usual = np.array([name not in _TRUNK for name in names])
        metrics: dict[str, float] = {}
        rows: dict[str, dict[str, float]] = {row: {} for row in _ROWS}
        for threshold in _THRESHOLDS:
            key = f"PCKh@{threshold:g}"
            counted = pck(distance, size, labelled, threshold, trained)
            metrics[key] = counted.mean
            metrics[f"{key} with head"] = pck(distance, size, labelled, threshold, usual).mean
            for row, joints in _ROWS.items():
                rows[row][key] = _mean_of(counted, [names.index(joint) for joint in joints])
        relative = np.where(labelled & (size > 0)[:, None], distance / size[:, None], np.nan)[:, trained]
        return Measures(
            metrics=metrics,
            tables=(Table("PCKh by joint, left and right together", rows),),
            scores=_mean_error(relative, labelled[:, trained] & (size > 0)[:, None]),
            score="mean error / head size",
            higher_is_better=False,
            notes=(
                "PCKh is the share of joints within a share of the head size, 0.6 of the head box's "
                "diagonal. As published for these models, its mean leaves out pelvis, thorax, upper neck and "
                "head top, which they were not trained on; `with head` is the usual mean, without pelvis and "
                "thorax. Joints weigh as often as they are labelled. @0.1 is at 0.10; the usual evaluation "
                "program prints the value at 0.11 under that name.",
            ),
        )


def _head_size(
    record: dict[str, Any], joints: NDArray[np.float64], known: NDArray[np.bool_], where: str
) -> float:
    """See Note [MPII head boxes]."""
    if "head_box" in record:
        left, top, right, bottom = numbers(record["head_box"], (4,), f"{where}, head_box")
        return _HEAD_SHARE * math.hypot(right - left, bottom - top)
    if not (known[_NECK] and known[_HEAD_TOP]):
        return math.nan
    apart = float(np.linalg.norm(joints[_NECK] - joints[_HEAD_TOP]))
    return _HEAD_SHARE / _BETWEEN_HEAD_JOINTS * apart


def _mean_of(counted: Pck, places: list[int]) -> float:
    """As usual: left and right weigh the same."""
    shares = counted.joints[places]
    return float(np.nanmean(shares)) if np.isfinite(shares).any() else math.nan


def _mean_error(relative: NDArray[np.float64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each person's mean; infinite with a joint that was not answered, NaN without any that counts."""
    errors = np.where(counted, np.nan_to_num(relative, nan=np.inf), 0.0)
    count = counted.sum(axis=1)
    mean: NDArray[np.float64] = np.divide(
        errors.sum(axis=1), count, out=np.full(len(errors), np.nan), where=count > 0
    )
    return mean
