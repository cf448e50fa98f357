# SPDX-License-Identifier: Apache-2.0
"""Photographs of people to train on, and the crops that are cut from them.

Rendered people do not belong here, nor does what a model makes of a crop.
"""

from __future__ import annotations

from edgepose.training.photographs.augmentation import Augmentation, cut, mirrored
from edgepose.training.photographs.lspet import TRAINING, VALIDATION, Photographs, read_lspet

__all__ = [
    "TRAINING",
    "VALIDATION",
    "Augmentation",
    "Photographs",
    "cut",
    "mirrored",
    "read_lspet",
]
