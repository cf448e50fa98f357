# SPDX-License-Identifier: Apache-2.0
"""How well a model localises: published metrics on published data sets, calibration, a page to look at.

Training and speed do not belong here.
"""

from __future__ import annotations

from edgepose.evaluation.calibration import Calibration, calibrate, coverage
from edgepose.evaluation.coco import CocoKeypoints
from edgepose.evaluation.datasets import DATASETS, DatasetName, open_dataset
from edgepose.evaluation.image_store import ImageStore
from edgepose.evaluation.lsp import LSP14, LeedsSports, joints_box
from edgepose.evaluation.mpii import Mpii, mpii_square
from edgepose.evaluation.results import Evaluation
from edgepose.evaluation.running import evaluate
from edgepose.evaluation.samples import Answer, Dataset, Measures, Sample, Table
from edgepose.evaluation.scenes import PARTS, Scenes

__all__ = [
    "DATASETS",
    "LSP14",
    "PARTS",
    "Answer",
    "Calibration",
    "CocoKeypoints",
    "Dataset",
    "DatasetName",
    "Evaluation",
    "ImageStore",
    "LeedsSports",
    "Measures",
    "Mpii",
    "Sample",
    "Scenes",
    "Table",
    "calibrate",
    "coverage",
    "evaluate",
    "joints_box",
    "mpii_square",
    "open_dataset",
]
