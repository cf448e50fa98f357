# SPDX-License-Identifier: Apache-2.0
"""The model architectures, each one file; what differs between them is behind one interface, in no branch.

Families, which say what a model is asked and what it answers, are in `edgepose.export.families`.
"""

from __future__ import annotations

from edgepose.export.architectures.description import Architecture
from edgepose.export.architectures.dinov2_llama import DINOV2_LLAMA
from edgepose.export.architectures.qwen3_vl import QWEN3_VL

__all__ = ["DINOV2_LLAMA", "QWEN3_VL", "Architecture"]
