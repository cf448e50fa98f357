# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision and recall of keypoints, counted by pycocotools.

Which people are asked about does not belong here: see `edgepose.evaluation.coco`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from edgepose.errors import BackendUnavailableError

__all__ = ["STATISTICS", "average_precision", "require_pycocotools"]

STATISTICS = ("AP", "AP50", "AP75", "AP (M)", "AP (L)", "AR", "AR50", "AR75", "AR (M)", "AR (L)")
"""What pycocotools counts for keypoints, in its order."""


def require_pycocotools() -> None:
    """Say early what is missing.

    Raises:
        BackendUnavailableError: pycocotools is not installed.
    """
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise BackendUnavailableError(
            "[eval] expected pycocotools, which counts average precision; got none; "
            "pip install 'edgepose[eval]'"
        ) from error


def average_precision(truth: dict[str, Any], results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Keypoint AP and AR, 0 to 1, over OKS thresholds 0.5 to 0.95.

    Args:
        truth: annotations in COCO's form: `images`, `annotations`, `categories`.
        results: in COCO's form: `image_id`, `category_id`, `keypoints`, `score`.

    Returns:
        `STATISTICS` in order; -1, as pycocotools has it, where no person is of that size.

    Raises:
        BackendUnavailableError: pycocotools is not installed.
    """
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO()
        true.dataset = truth
        true.createIndex()
        # Built as loadRes builds it, which refuses a model that answered nothing.
        answered = COCO()
        answered.dataset = {
            **truth,
            "annotations": [_detection(n, item) for n, item in enumerate(results, 1)],
        }
        answered.createIndex()
        evaluation = COCOeval(true, answered, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(STATISTICS, evaluation.stats, strict=True)}


def _detection(number: int, result: dict[str, Any]) -> dict[str, Any]:
    xs, ys = result["keypoints"][0::3], result["keypoints"][1::3]
    left, top, width, height = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    return {**result, "id": number, "bbox": [left, top, width, height], "area": width * height}
