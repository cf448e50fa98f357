# SPDX-License-Identifier: Apache-2.0
"""`edgepose info`: what a bundle is and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgepose.cli.output import json_text

if TYPE_CHECKING:
    from edgepose.bundle import Bundle

__all__ = ["info"]


@click.command(short_help="Show what a bundle holds.")
@click.argument("bundle", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def info(bundle: str, as_json: bool) -> None:
    """Show family, precision, sizes, prompt, keypoints and files of BUNDLE."""
    from edgepose.bundle import Bundle

    opened = Bundle.open(bundle)
    click.echo(json_text(opened.manifest.to_json()) if as_json else _table(opened))


def _table(bundle: Bundle) -> str:
    m, d = bundle.manifest, bundle.manifest.decoder
    heads = (
        f"{d.heads} heads" if d.heads == d.kv_heads else f"{d.heads} heads ({d.kv_heads} for keys and values)"
    )
    rows = [
        ("bundle", str(bundle.path)),
        ("family", m.family),
        ("format", f"version {m.format_version}, made by {m.created_by}"),
        (
            "precision",
            f"{m.precision.name}: weights {m.precision.weights}, activations {m.precision.activations}",
        ),
        ("image", f"{m.view.summary}, features of {m.vision.hidden}"),
        ("decoder", f"{d.layers} layers of {d.hidden}, {heads} of {d.head_dim}"),
        ("vocabulary", f"{d.vocabulary} tokens, context {d.max_positions}"),
        ("answer", f"prompt {m.prompt.format}, {m.codec.summary}"),
        ("keypoints", m.keypoints.summary),
        *((f"from {name}", str(value)) for name, value in m.provenance.items()),
        *((f"parity {name}", _flat(value)) for name, value in m.parity.items()),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {value}" for name, value in rows]
    longest = max(len(name) for name in m.files)
    lines += ["", f"{'file':{longest}}  {'size':>10}"]
    lines += [f"{name:{longest}}  {_size(spec.bytes):>10}" for name, spec in sorted(m.files.items())]
    lines.append(f"{'total':{longest}}  {_size(sum(spec.bytes for spec in m.files.values())):>10}")
    return "\n".join(lines)


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(item)}" for name, item in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB"):
        if (value := count / {"kB": 1e3, "MB": 1e6}[unit]) < 1000:
            return f"{value:.1f} {unit}"
    return f"{count / 1e9:.2f} GB"
