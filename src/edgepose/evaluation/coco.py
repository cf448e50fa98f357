# SPDX-License-Identifier: Apache-2.0
"""Data sets in COCO's form of person keypoints: COCO itself, Human-Art, rendered people.

Counting average precision does not belong here: see `edgepose.evaluation.average_precision`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepose.crop import Box, SquareCrop
from edgepose.errors import InvalidInputError
from edgepose.evaluation.average_precision import average_precision, require_pycocotools
from edgepose.evaluation.image_store import ImageStore
from edgepose.evaluation.metrics import COCO_SIGMAS, distances, oks, spread
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
from edgepose.evaluation.samples import Answer, Measures, Sample, Table
from edgepose.keypoints import COCO17

__all__ = ["CocoKeypoints"]

_COUNT = len(COCO17)


class CocoKeypoints:
    """People of a COCO annotation file with their 17 keypoints.

    The published protocol: ground-truth boxes, no flip, one answer for each person that has labelled
    keypoints, whose score is the mean confidence of its keypoints; people without labelled keypoints, and
    crowds, are not asked about, and neither help nor harm.

    Args:
        annotations: JSON in COCO's form; keypoints in the order of `edgepose.COCO17`.
        images: folder or ZIP archive.
        name: of the data set.

    Raises:
        InvalidInputError: a file is missing or has another form; the message names the annotation.
        BackendUnavailableError: pycocotools is not installed.

    Source: LocLLM, utils/valid2d.py and datasets/coco.py.
    """

    def __init__(
        self, annotations: str | os.PathLike[str], images: str | os.PathLike[str], *, name: str = "coco"
    ) -> None:
        require_pycocotools()
        data = read_bytes(annotations)
        value = read_json(annotations, data)
        self.name = name
        self.annotations = os.path.basename(os.fspath(annotations))
        self.sha256 = digest(data)
        self.images = ImageStore(images)
        self.options: Mapping[str, str] = {}
        self._pictures = {
            whole(field_of(item, "id", "image"), "image id"): item for item in objects(value, "images")
        }
        self._people = objects(value, "annotations")
        self._categories = _person(value)
        self._by_id: dict[str, dict[str, Any]] = {}
        self.samples: Sequence[Sample] = self._read()
        asked = f"{len(self.samples)} people with labelled keypoints"
        left = len(self._people) - len(self.samples)
        without = f", {left} without, crowds, or boxes that hold no pixels" if left else ""
        self.notes: tuple[str, ...] = (
            f"{asked} in {len({sample.image for sample in self.samples})} images{without}.",
        )
        if not self.samples:
            raise InvalidInputError(
                f"[annotations] expected people with labelled keypoints; got none among {len(self._people)} "
                f"annotations of {os.fspath(annotations)!r}; pass a file of person keypoints"
            )

    def _read(self) -> list[Sample]:
        found: list[tuple[int, Sample]] = []
        order = {image_id: place for place, image_id in enumerate(self._pictures)}
        for item in self._people:
            number = whole(field_of(item, "id", "annotation"), "annotation id")
            where = f"annotation {number}"
            if str(number) in self._by_id:
                raise wrong(where, "each id once", number, "number the annotations anew")
            self._by_id[str(number)] = item
            image_id = whole(field_of(item, "image_id", where), f"{where}, image_id")
            if image_id not in self._pictures:
                raise wrong(f"{where}, image_id", "an image of the file", image_id, "add it to images")
            numbers(field_of(item, "area", where), (), f"{where}, area")
            sample = self._sample(item, where)
            if sample is not None:
                found.append((order[image_id], sample))
        return [sample for _, sample in sorted(found, key=lambda pair: pair[0])]

    def _sample(self, item: dict[str, Any], where: str) -> Sample | None:
        if item.get("iscrowd", 0) or "keypoints" not in item:
            return None
        points = numbers(item["keypoints"], (3 * _COUNT,), f"{where}, keypoints").reshape(_COUNT, 3)
        labelled = points[:, 2] > 0
        box = numbers(field_of(item, "bbox", where), (4,), f"{where}, bbox")
        picture = self._pictures[item["image_id"]]
        if not labelled.any() or not _holds_pixels(box.tolist(), picture):
            return None
        return Sample(
            id=str(item["id"]),
            image=self.images.find(str(field_of(picture, "file_name", f"image {item['image_id']}"))),
            keypoints=COCO17.keypoints,
            xy=np.where(labelled[:, None], points[:, :2], np.nan),
            labelled=labelled,
            box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            size=math.sqrt(max(0.0, float(item["area"]))),
            occluded=points[:, 2] == 1,
        )

    def measure(self, samples: Sequence[Sample], answers: Sequence[Answer]) -> Measures:
        """See `edgepose.evaluation.Dataset`."""
        pairs = list(zip(samples, answers, strict=True))
        results = [self._result(sample, answer) for sample, answer in pairs]
        statistics = average_precision(self._truth(samples), results)
        similar = np.array([oks(a.xy, s.xy, s.labelled, s.size**2) for s, a in pairs])
        labelled = np.array([sample.labelled for sample in samples])
        relative = np.array([distances(a.xy, s.xy) / max(s.size, 1e-9) for s, a in pairs])
        alike = np.exp(-(np.nan_to_num(relative, nan=np.inf) ** 2) / (8 * COCO_SIGMAS**2))
        rows = {}
        for k, joint in enumerate(COCO17.keypoints):
            known = labelled[:, k]
            far = spread(relative[:, k], known)
            rows[joint] = {
                "OKS": float(alike[known, k].mean()) if known.any() else math.nan,
                "mean error / sqrt(area)": far.mean,
                "median": far.median,
                "labelled": float(far.labelled),
            }
        return Measures(
            metrics={**statistics, "mean OKS": float(similar.mean())},
            tables=(
                Table("Keypoints: similarity, and error over the square root of the person's area", rows),
            ),
            scores=similar,
            score="OKS",
            higher_is_better=True,
            notes=(
                "AP and AR by pycocotools, thresholds 0.50 to 0.95: ground-truth boxes, no flip, score = "
                "mean confidence of the keypoints. -1 stands where no person is of that size.",
            ),
        )

    def _result(self, sample: Sample, answer: Answer) -> dict[str, Any]:
        xy = np.nan_to_num(answer.xy, nan=0.0)
        person = self._by_id[sample.id]
        keypoints = np.column_stack([xy, answer.confidence])
        return {
            "image_id": person["image_id"],
            "category_id": person["category_id"] if "category_id" in person else 1,
            "keypoints": keypoints.ravel().tolist(),
            "score": answer.score,
        }

    def _truth(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The annotations without people who could have been asked about and are not among the samples.

        Images with nobody to ask about count where everybody was asked: their people were missed.
        """
        chosen = {sample.id for sample in samples}
        askable = {sample.id for sample in self.samples}
        images = {self._by_id[sample_id]["image_id"] for sample_id in chosen}
        if chosen == askable:
            images = set(self._pictures)
        people = [
            {"category_id": 1, "iscrowd": 0, "keypoints": [0] * (3 * _COUNT), **item}
            for number, item in self._by_id.items()
            if item["image_id"] in images and (number in chosen or number not in askable)
        ]
        for person in people:
            person["num_keypoints"] = int(np.count_nonzero(person["keypoints"][2::3]))
        return {
            "images": [item for number, item in self._pictures.items() if number in images],
            "annotations": people,
            "categories": self._categories,
        }


def _person(value: Any) -> list[dict[str, Any]]:
    """The file's categories, whose keypoints must be COCO's, or begin with them as Human-Art's do."""
    categories = value.get("categories") if isinstance(value, dict) else None
    if not categories:
        return [{"id": 1, "name": "person"}]
    for category in objects(value, "categories"):
        names = category.get("keypoints")
        if names and [str(name).replace("_", " ") for name in names][:_COUNT] != list(COCO17.keypoints):
            raise wrong(
                "categories", f"the keypoints {', '.join(COCO17.keypoints)}", names, "convert the annotations"
            )
    return objects(value, "categories")


def _holds_pixels(box: Box | list[float], picture: dict[str, Any]) -> bool:
    if "width" not in picture or "height" not in picture:
        return True
    try:
        SquareCrop.from_box(box, (int(picture["width"]), int(picture["height"])))
    except InvalidInputError:
        return False
    return True
