# SPDX-License-Identifier: Apache-2.0
"""From published checkpoints to bundles; needs the extra `edgepose[export]`.

Running bundles does not belong here.
"""

from __future__ import annotations

from edgepose.export.pipeline import ExportReport, export_bundle

__all__ = ["ExportReport", "export_bundle"]
