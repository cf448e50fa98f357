# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules of the model parts, one file per architecture, with the canonical names of all tensors.

Reading checkpoints and writing graphs do not belong here.
"""

from __future__ import annotations

from edgepose.export.models.config import ModelConfig
from edgepose.export.models.connector import Connector, ConnectorConfig
from edgepose.export.models.dinov2 import VisionConfig, VisionEncoder
from edgepose.export.models.llama import Decoder, DecoderConfig, KeyValue
from edgepose.export.models.posellm import PoseModel

__all__ = [
    "Connector",
    "ConnectorConfig",
    "Decoder",
    "DecoderConfig",
    "KeyValue",
    "ModelConfig",
    "PoseModel",
    "VisionConfig",
    "VisionEncoder",
]
