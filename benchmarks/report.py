# SPDX-License-Identifier: Apache-2.0
"""Writes the README's figures from benchmarks/results, between markers; `--check` only compares.

    python benchmarks/report.py [--check]

Measuring does not belong here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"
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
    return "\n".join([*lines, "", _machine(result["machine"], limits)])


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
    return "\n".join([*lines, "", _machine(result["machine"], limits)])


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
    return "\n".join([*table, "", _machine(result["machine"], [answer["limits"]])])


def nano_table(result: dict[str, Any]) -> str:
    """One row a model, precision and way of decoding."""
    lines = [
        "| model | precision, decoding | rendered people | photographs | ms an answer (p10 to p90) |",
        "|---|---|---|---|---|",
    ]
    for model, found in result["models"].items():
        name = f"`{model}`"
        for way, sets in found["accuracy"]["rows"].items():
            cells, time = ["", ""], found["time"]["rows"][way]
            if "rendered" in sets:
                shown = sets["rendered"]
                aps = shown["of each seed"]["AP"]
                cells[0] = f"AP {shown['AP']:.3f} ({shown['people']} people; {_range(aps, 3)})"
            if "photographs" in sets:
                shown = sets["photographs"]
                cells[1] = f"PCK@0.2 {shown['PCK@0.2']:.3f} ({shown['people']} people)"
            if "asked" in sets:
                shown = sets["asked"]
                asked = [value / 10 for value in shown["of each seed"]["G-MPJPE"]]
                free = [row["G-MPJPE"] for key, row in sets.items() if key.startswith("free")]
                free = [value for value in free if value is not None]
                cells[0] = (
                    f"asked {shown['G-MPJPE'] / 10:.1f} cm ({shown['people']} frames; {_range(asked, 1)})"
                )
                if free:
                    cells[0] += f", free {sum(free) / len(free) / 10:.1f} cm"
            low, median, high = (1000 * time[key] for key in ("p10", "median", "p90"))
            cells.append(f"{median:.0f} ({low:.0f} to {high:.0f})")
            lines.append("| " + " | ".join([name, way, *cells]) + " |")
            name = ""
    limits = [found["time"]["limits"] for found in result["models"].values()]
    return "\n".join([*lines, "", _machine(result["machine"], limits)])


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
    return "\n".join([*lines, "", _machine(result["machine"], limits)])


def _range(values: Sequence[float], digits: int) -> str:
    """The figures of other sets."""
    return f"{len(values)} sets: {min(values):.{digits}f} to {max(values):.{digits}f}"


def claims_table(result: dict[str, Any]) -> str:
    """One row a side of a claim: mean and standard deviation over the seeds."""
    lines = [
        "| claim | side | figures, mean ± standard deviation over the seeds | seeds |",
        "|---|---|---|---|",
    ]
    claims = {
        "connector": "MLP against linear connector",
        "reinforcement": "supervised against reinforcement fine-tuning",
    }
    for claim, text in claims.items():
        for side, figures in result[claim]["rows"].items():
            shown = ", ".join(f"{name} {_mean_and_spread(values)}" for name, values in figures.items())
            seeds = len(next(iter(figures.values())))
            lines.append(f"| {text} | {side} | {shown} | {seeds} |")
            text = ""
    limits = [result[claim]["limits"] for claim in claims]
    return "\n".join([*lines, "", _machine(result["machine"], limits)])


def precisions_table(result: dict[str, Any]) -> str:
    """One row a model and precision."""
    lines = [
        "| model | precision | decoder | rendered people | photographs | same place as in float32 "
        "| ms an answer | of these in the decoder | decoder, times faster |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for step, name in (("accuracy", "`posellm-nano`"), ("wide", "random, 2048 wide")):
        for precision, row in result.get(step, {}).get("rows", {}).items():
            sets = row.get("sets", {})
            cells = ["", "", ""]
            if sets:
                cells[0] = f"AP {sets['rendered']['AP']:.3f}"
                cells[1] = f"PCK@0.2 {sets['photographs']['PCK@0.2']:.3f}"
                near = [each["from_float32"] for each in sets.values()]
                share = " and ".join(f"{100 * each['share_near']:.0f} %" for each in near)
                mean = " and ".join(f"{100 * each['mean']:.1f}" for each in near)
                cells[2] = "" if precision == "fp32" else f"{share} (mean distance {mean} % of the crop)"
            whole, inside, ratio = row["seconds"], row["decoder_seconds"], row["decoder_times_faster"]
            cells += [
                f"{1000 * whole['median']:.0f}",
                f"{1000 * inside['median']:.0f}",
                ""
                if precision == "fp32"
                else f"{ratio['median']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f})",
            ]
            lines.append("| " + " | ".join([name, precision, f"{row['decoder_mb']:.1f} MB", *cells]) + " |")
            name = ""
    limits = [result[step]["limits"] for step in ("accuracy", "wide") if step in result]
    return "\n".join([*lines, "", _machine(result["machine"], limits)])


def _mean_and_spread(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    if mean > 10:  # millimetres
        mean, values, unit, digits = mean / 10, [value / 10 for value in values], " cm", 1
    else:
        unit, digits = "", 3
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}{unit}"


def _passes(passes: dict[str, int]) -> str:
    return " + ".join(str(passes[name]) for name in ("vision", "prefix", "suffix", "decode"))


def _machine(machine: dict[str, Any], limits: Sequence[dict[str, float]]) -> str:
    packages = machine["packages"]
    return (
        f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores, "
        f"{machine['memory_gb']:.0f} GB, {', '.join(machine['instructions'])}; ONNX Runtime "
        f"{packages['onnxruntime']}, PyTorch {packages['torch']}. Measured in the same run: memory read at "
        f"{_each(limits, 'memory_read_gb_per_s')} GB/s, float32 matrix product at "
        f"{_each(limits, 'float32_matmul_gflop_per_s')} GFLOP/s."
    )


def _each(limits: Sequence[dict[str, float]], name: str) -> str:
    """The figure of each size, in the order of the rows."""
    return " and ".join(str(limit[name]) for limit in limits)


TABLES = {
    "ask": ask_table,
    "locate": locate_table,
    "full_size": full_size_table,
    "full_size_taihri": full_size_table,
    "nano": nano_table,
    "track": track_table,
    "claims": claims_table,
    "precisions": precisions_table,
}


def render(readme: str) -> str:
    """The README with every table between its markers brought up to date."""
    for name, table in TABLES.items():
        result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        begin, end = f"<!-- {name}: written by benchmarks/report.py -->", f"<!-- end of {name} -->"
        if end not in readme.partition(begin)[2]:
            raise SystemExit(f"README.md has no markers for {name}: {begin} ... {end}")
        before, _, rest = readme.partition(begin)
        readme = f"{before}{begin}\n{table(result)}\n{end}{rest.partition(end)[2]}"
    return readme


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when the README is stale"
    )
    options = parser.parse_args(argv)
    readme = README.read_text(encoding="utf-8")
    rendered = render(readme)
    if options.check:
        return int(rendered != readme)
    README.write_text(rendered, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
