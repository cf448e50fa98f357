# SPDX-License-Identifier: Apache-2.0
"""Tables of how long something takes, and what memory.

Measuring does not belong here, nor accuracy alone: see accuracy_tables.py.
"""

from __future__ import annotations

from typing import Any

from table_text import machine_line, table

__all__ = ["ask_table", "engines_table", "full_size_table", "locate_table", "track_table"]

SIDES = {
    "as published": "PyTorch fp32, as published",
    "published, lean": "PyTorch fp32, lean",
    "exact fp32": "edgepose, exact, fp32",
    "constrained fp32": "edgepose, constrained, fp32",
    "constrained int4": "edgepose, constrained, int4",
}


def locate_table(result: dict[str, Any]) -> str:
    """One row a size and side: time, ratio, tokens, passes, memory, time outside the graphs."""
    lines = [
        "| vision, decoder (width x layers) | what | seconds a person | times faster than published "
        "| than lean | tokens equal to PyTorch's | passes | peak memory | outside graphs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in result["sizes"].values():
        name = f"{size['vision']}, {size['decoder']}"
        for side, text in SIDES.items():
            row = size[side]
            seconds = f"{row['seconds']['median']:.2f}"
            memory = f"{row['peak_rss_mb'] / 1000:.1f} GB"
            if "times_faster" not in row:
                passes = f"{row['images_encoded']} images, {row['decoder_passes']} decoder"
                cells = [seconds, "", "", "", passes, memory, ""]
            else:
                ratio, lean = row["times_faster"], row["times_faster_than_lean"]
                passes = _passes(row["passes"])
                cells = [
                    seconds,
                    f"**{ratio['median']:.1f}** ({ratio['p10']:.1f} to {ratio['p90']:.1f})",
                    f"{lean['median']:.1f} ({lean['p10']:.1f} to {lean['p90']:.1f})",
                    f"{100 * row['tokens_equal']:.0f} %",
                    passes,
                    memory,
                    f"{100 * row['outside_graphs']:.1f} %",
                ]
            lines.append("| " + " | ".join([name, text, *cells]) + " |")
            name = ""
    limits = [size["limits"] for size in result["sizes"].values()]
    return "\n".join([*lines, "", machine_line(result["machine"], limits)])


def ask_table(result: dict[str, Any]) -> str:
    """One row a size, form and side."""
    lines = [
        "| vision, decoder (width x layers) | question | what | seconds a frame "
        "| times faster than `generate` | tokens equal to its | passes | peak memory | outside graphs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in result["sizes"].values():
        name = f"{size['vision']}, {size['decoder']}"
        for form in ("asked", "free"):
            rows = size[form]
            question = f"{form}, {rows['tokens']} tokens"
            for side, text in {"transformers": "transformers, fp32", **SIDES}.items():
                if side not in rows:
                    continue
                row = rows[side]
                cells = [f"{row['seconds']['median']:.2f}", "", "", "", "", ""]
                if "times_faster" in row:
                    ratio = row["times_faster"]
                    cells[1] = f"**{ratio['median']:.1f}** ({ratio['p10']:.1f} to {ratio['p90']:.1f})"
                    cells[2] = f"{100 * row['tokens_equal']:.0f} %"
                    cells[5] = f"{100 * row['outside_graphs']:.1f} %"
                cells[3] = _passes(row["passes"]) if "passes" in row else f"1 + {row['decoder_passes']}"
                cells[4] = f"{row['peak_rss_mb'] / 1000:.1f} GB"
                lines.append("| " + " | ".join([name, question, text, *cells]) + " |")
                name = question = ""
    limits = [size["limits"] for size in result["sizes"].values()]
    return "\n".join([*lines, "", machine_line(result["machine"], limits)])


def full_size_table(result: dict[str, Any]) -> str:
    """What a published size takes on a small machine."""
    export, answer = result["export"], result["answer"]
    first, second = (call["seconds"] for call in answer["calls"])
    passes = answer["calls"][0]["passes"]
    stages = ("preprocess", "vision", "prefix", "suffix", "decode")
    rows = [
        ("checkpoint on disk", f"{export['checkpoint_gb']} GB"),
        ("bundle on disk", f"{export['bundle_gb']} GB"),
        ("export, peak memory", f"**{export['peak_rss_gb']} GB**"),
        ("export, time", f"{export['seconds'] / 60:.0f} min"),
        (
            f"{answer['keypoints']} keypoints",
            f"**{first['total']:.0f} s** the first time, {second['total']:.0f} s the second",
        ),
        ("of which", ", ".join(f"{stage} {second[stage]:.1f} s" for stage in stages)),
        ("passes", ", ".join(f"{count} {name}" for name, count in passes.items())),
        ("peak memory", f"{answer['peak_rss_gb']} GB"),
        ("outside graphs", f"{100 * answer['outside_graphs']:.2f} %"),
    ]
    if "bytes_a_pass" in answer:
        read = answer["bytes_a_pass"]
        constrained = read["llm_decoder"] + read["answer_head"]
        saved = 1 - constrained / (read["llm_decoder"] + read["lm_head"])
        text = f"{constrained / 1000:.2f} GB; the restricted head saves {100 * saved:.0f} %"
        rows.append(("weights read a decode pass", text))
    table = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join([*table, "", machine_line(result["machine"], [answer["limits"]])])


def track_table(result: dict[str, Any]) -> str:
    """One row a bundle and way of decoding."""
    lines = [
        "| model | asked | decoding | answers equal to `locate`'s | free tokens accepted "
        "| decode passes a frame: track, locate | ms a frame: track, locate | times faster |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model, clip in result["clips"].items():
        name, asked = f"`{model}`", clip["asked"]
        for decode in ("constrained", "exact"):
            row = clip[decode]
            both = (row["track"], row["locate"])
            ratio = row["times_faster"]
            cells = [
                f"{100 * row['answers_equal']:.1f} %",
                f"{100 * row['drafts']['accepted_of_free']:.0f} %",
                ", ".join(f"{side['passes_a_frame']['decode']:.1f}" for side in both),
                ", ".join(f"{1000 * side['seconds']['median']:.0f}" for side in both),
                f"**{ratio['median']:.2f}** ({ratio['p10']:.2f} to {ratio['p90']:.2f})",
            ]
            lines.append("| " + " | ".join([name, asked, decode, *cells]) + " |")
            name = asked = ""
    limits = [clip["limits"] for clip in result["clips"].values()]
    return "\n".join([*lines, "", machine_line(result["machine"], limits)])


def engines_table(result: dict[str, Any]) -> str:
    """One row a graph of each published size, and one for the whole."""
    subjects = {"posellm-7b": "PoseLLM 7 B, INT4", "taihri-2b": "TAIHRI on Qwen3-VL-2B, INT4"}
    rows = []
    for subject, name in subjects.items():
        figures = result[subject]
        for graph, part in figures["components"].items():
            rows.append(
                [
                    name,
                    graph,
                    _megabytes(part["weights_mb"]),
                    _megabytes(part["engine_mb"]),
                    f"{part['seconds']:.1f} s",
                    f"{part['peak_anonymous_gb']:.2f} GB ({part['estimate_build_gb']:.2f})",
                    f"{_megabytes(part['activations_mb'])} ({_megabytes(part['estimate_activations_mb'])})",
                ]
            )
            name = ""
        size = sum(part["engine_mb"] for part in figures["components"].values())
        weights = sum(part["weights_mb"] for part in figures["components"].values())
        whole = f"**{figures['seconds']:.0f} s**, again {figures['seconds_again']:.1f} s"
        most = max(part["peak_anonymous_gb"] for part in figures["components"].values())
        peak = (
            f"**{most:.1f} GB** ({figures['estimate_build_gb']:.1f}), {figures['peak_rss_gb']:.1f} resident"
        )
        rows.append(["", "whole", _megabytes(weights), _megabytes(size), whole, peak, ""])
    head = [
        "bundle",
        "graph",
        "weights",
        "engine",
        "compiled in",
        "peak (estimated)",
        "activations (estimated)",
    ]
    limits = [result[subject]["limits"] for subject in subjects]
    compilers = " and ".join(sorted({result[subject]["runtime"] for subject in subjects}))
    return f"{table(head, rows)}\n\nCompiled by {compilers} on {machine_line(result['machine'], limits)}"


def _megabytes(value: float) -> str:
    return f"{value / 1000:.2f} GB" if value >= 1000 else f"{value:.0f} MB" if value >= 1 else f"{value} MB"


def _passes(passes: dict[str, int]) -> str:
    return " + ".join(str(passes[name]) for name in ("vision", "prefix", "suffix", "decode"))
