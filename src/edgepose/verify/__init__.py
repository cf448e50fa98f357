# SPDX-License-Identifier: Apache-2.0
"""Runs the goldens of a bundle on this machine: every graph on stored inputs, against PyTorch's stored
answers.

Making goldens does not belong here: their format is described in `edgepose.export.goldens`.
"""

from __future__ import annotations

from edgepose.verify.report import CaseRun, GraphResult, NotRun, VerifyReport
from edgepose.verify.row_error import worst_row_error
from edgepose.verify.running import verify_bundle

__all__ = ["CaseRun", "GraphResult", "NotRun", "VerifyReport", "verify_bundle", "worst_row_error"]
