# SPDX-License-Identifier: Apache-2.0
"""Reads checkpoint directories as their authors publish them: configurations and tensors.

What the tensors mean (names, shapes, adapters) is decided in `edgepose.export.weights`, not here.
"""

from __future__ import annotations

from edgepose.export.checkpoint.directory import Checkpoint, open_checkpoint
from edgepose.export.checkpoint.json_object import read_json_object
from edgepose.export.checkpoint.tensor_source import TensorSource

__all__ = ["Checkpoint", "TensorSource", "open_checkpoint", "read_json_object"]
