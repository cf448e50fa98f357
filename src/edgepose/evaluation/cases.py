# SPDX-License-Identifier: Apache-2.0
"""A picture of one person with the model's answer and the truth on it.

Which people are shown does not belong here.
"""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from edgepose.crop import SquareCrop
from edgepose.drawing import draw_poses
from edgepose.evaluation.samples import Answer, Sample
from edgepose.keypoint import Keypoint
from edgepose.pose import Pose

__all__ = ["as_data_uri", "draw_case"]

_SIDE = 340  # pixels of a picture
_MARGIN = 0.15  # of the person's longer side, on each side
_TRUTH = (255, 255, 255)
_OUTLINE = (20, 22, 28)
_MISS = (255, 72, 66)
_QUALITY = 82


def draw_case(image: NDArray[np.uint8], sample: Sample, answer: Answer) -> NDArray[np.uint8]:
    """The person's surroundings with the answered skeleton; rings are the truth, red lines the errors.

    Args:
        image: `(H, W, 3)` uint8 RGB, the whole image.
        sample: the person.
        answer: to it.

    Returns:
        `(340, 340, 3)` uint8 RGB.
    """
    import cv2

    square = _surroundings(image, sample)
    picture = square.warp(image, _SIDE)
    canvas = draw_poses(picture, [_moved(answer.pose(sample.keypoints), square)], labels=False)
    truth = _pixels(square, sample.xy)
    said = _pixels(square, answer.xy)
    for place in np.flatnonzero(sample.labelled):
        true = _point(truth[place])
        if np.isfinite(said[place]).all():
            cv2.line(canvas, true, _point(said[place]), _MISS, 1, cv2.LINE_AA)
        for color, width in ((_OUTLINE, 3), (_TRUTH, 1)):
            cv2.circle(canvas, true, 5, color, width, cv2.LINE_AA)
    return canvas


def as_data_uri(picture: NDArray[np.uint8]) -> str:
    """A JPEG for the `src` of an image of a page.

    Args:
        picture: `(H, W, 3)` uint8 RGB.
    """
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _surroundings(image: NDArray[np.uint8], sample: Sample) -> SquareCrop:
    """A square that holds the person's box and its labelled joints."""
    corners = [sample.xy[sample.labelled]]
    if sample.box is not None:
        x, y, w, h = sample.box.box if isinstance(sample.box, SquareCrop) else sample.box
        corners.append(np.array([(x, y), (x + w, y + h)]))
    else:
        corners.append(np.array([(0, 0), (image.shape[1], image.shape[0])]))
    points = np.concatenate(corners)
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    center, side = (low + high) / 2, float((high - low).max())
    return SquareCrop(float(center[0]), float(center[1]), max(8.0, side * (1 + 2 * _MARGIN)))


def _pixels(square: SquareCrop, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return square.to_crop(xy) * _SIDE


def _moved(pose: Pose, square: SquareCrop) -> Pose:
    """The pose in pixels of the picture."""
    zoom = _SIDE / square.side
    points = tuple(
        Keypoint(point.name, _pixels(square, point.xy), point.confidence, std=point.std * zoom, xyz=point.xyz)
        for point in pose
    )
    return Pose(pose.box, points)


def _point(xy: NDArray[np.float64]) -> tuple[int, int]:
    limit = 16.0 * _SIDE  # OpenCV's coordinates are 16 bits wide inside
    x, y = np.clip(xy, -limit, limit)
    return round(float(x)), round(float(y))
