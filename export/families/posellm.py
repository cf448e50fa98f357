# SPDX-License-Identifier: Apache-2.0
"""PoseLLM, the description: LocLLM with an MLP for a connector.

Sizes do not belong here; they come from the checkpoint.
"""

from __future__ import annotations

import dataclasses

from edgepose.export.families.locllm import LOCLLM

__all__ = ["POSELLM"]

POSELLM = dataclasses.replace(
    LOCLLM,
    name="posellm",
    # The published checkpoint says one of the two; the connector tells the families apart.
    model_types=("posellm", "locllm"),
    connector="mlp",
)
"""Source: PoseLLM (arXiv 2507.09139)."""
