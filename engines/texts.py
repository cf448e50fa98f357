# SPDX-License-Identifier: Apache-2.0
"""Reports of builds and inspections as text for people.

What they say is decided in `edgepose.engines.report` and `edgepose.engines.inspection`.
"""

from __future__ import annotations

from edgepose.engine import rebuild_command
from edgepose.engines.inspection import Inspection
from edgepose.engines.report import BuildReport

__all__ = ["build_text", "inspection_text"]


def build_text(report: BuildReport) -> str:
    """A table of components, estimates, and how it ended."""
    p = report.platform
    where = p.device.name if p.device is not None else f"any GPU of compute capability {p.compute_capability}"
    width = max(map(len, report.components))
    head = f"{'component':{width}}  {'':7}  profiles  {'engine':>10}  {'compiled':>9}  {'activations':>11}"
    runtime = p.runtime if p.runtime_version is None else f"{p.runtime} {p.runtime_version}"
    lines = [f"{report.family} {report.precision} for {runtime}, {where}", head]
    for name, part in report.components.items():
        size = "-" if part.status == "checked" else f"{part.bytes / 1e6:.1f} MB"
        seconds = "-" if part.status == "checked" else f"{part.seconds:.1f} s"
        used = part.device_memory
        if used < 0 and name in report.estimates:
            used = report.estimates[name].activations
        memory = f"{used / 1e6:.1f} MB" if used >= 0 else "-"
        lines.append(
            f"{name:{width}}  {part.status:7}  {part.profiles:8}  {size:>10}  {seconds:>9}  {memory:>11}"
        )
    if report.run_memory:
        lines.append(
            f"estimates: {report.build_memory / 2**30:.2f} GiB to build, at most "
            f"{report.run_memory / 2**30:.2f} GiB to run"
        )
    if report.status == "checked":
        lines.append(
            f"checked in {report.seconds:.1f} s by {report.compiler}: parses, and its shapes hold; nothing "
            "was compiled"
        )
    else:
        lines.append(f"{report.status} in {report.seconds:.1f} s: {report.out}")
    return "\n".join(lines)


def inspection_text(found: Inspection) -> str:
    """What the engines are, their profiles, and whether they fit."""
    m, p = found.manifest, found.manifest.platform
    device = "none: any GPU of this compute capability" if p.device is None else p.device.name
    rows = [
        ("engines", found.path),
        ("bundle", f"{m.bundle.family} {m.bundle.precision}, {m.bundle.path}, {m.bundle.sha256[:12]}"),
        ("recipe", m.recipe.name),
        ("runtime", f"{p.runtime} {p.runtime_version}"),
        ("GPU", f"compute capability {p.compute_capability}, built on {device}"),
        ("system", f"{p.os} {p.arch}, driver {p.driver or '-'}, CUDA {p.cuda or '-'}"),
        ("built", f"{m.built} by edgepose {m.edgepose}"),
    ]
    lines = [f"{name:8}  {value}" for name, value in rows]
    for name, part in m.components.items():
        lines += ["", f"{name}  {part.bytes / 1e6:.1f} MB, activations {part.device_memory / 1e6:.1f} MB"]
        for profile in part.profiles:
            first = next(iter(profile.shapes))
            low, usual, high = profile.shapes[first]
            lines.append(f"  {profile.name:7}  {first} {low} to {high}, usually {usual}")
    lines.append("")
    if found.differences:
        lines.append("does not fit:")
        lines += [f"  {item.field}: expected {item.expected}; got {item.found}" for item in found.differences]
        lines.append(f"build again: {rebuild_command(found.bundle, m.recipe.name, found.path)}")
    elif found.missing:
        lines.append(f"nothing differs, but this machine cannot run them: {', '.join(found.missing)}")
    else:
        lines.append("fits this machine")
    return "\n".join(lines)
