# SPDX-License-Identifier: Apache-2.0
"""Turns published tensors into canonical ones: renamed, merged, reshaped; one plan per architecture.

Files are read in `edgepose.export.checkpoint`; which plan a checkpoint takes is decided by the architecture
of its family.
"""

from __future__ import annotations

from edgepose.export.weights.dinov2_llama import interpolate_pos_embed, plan_dinov2_llama
from edgepose.export.weights.mapping import ModelWeights, Planner, derive_config
from edgepose.export.weights.plan import Plan
from edgepose.export.weights.qwen3_vl import plan_qwen3_vl

__all__ = [
    "ModelWeights",
    "Plan",
    "Planner",
    "derive_config",
    "interpolate_pos_embed",
    "plan_dinov2_llama",
    "plan_qwen3_vl",
]
