# SPDX-License-Identifier: Apache-2.0
"""The error classes of edgepose, as the C++ core and the Python package both raise them.

Neither messages nor error classes are made here: the one list is `cpp/include/edgepose/errors.def`.
"""

from __future__ import annotations

from edgepose._core import (
    BackendError,
    BackendUnavailableError,
    BundleError,
    DecodeError,
    EdgePoseError,
    EngineMismatchError,
    InvalidInputError,
)

__all__ = [
    "BackendError",
    "BackendUnavailableError",
    "BundleError",
    "DecodeError",
    "EdgePoseError",
    "EngineMismatchError",
    "InvalidInputError",
]
