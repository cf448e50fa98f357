# SPDX-License-Identifier: Apache-2.0
"""Machines for which engines are built, as a sidecar or a timing cache names them."""

from __future__ import annotations

from edgepose.engine_check import Device, Platform

ORIN = Platform(
    runtime="tensorrt",
    runtime_version="10.3.0",
    compute_capability="8.7",
    device=Device("Orin", 16, 64 << 30),
    driver="R36.4.3",
    cuda="12.6",
    os="Linux",
    arch="aarch64",
)
