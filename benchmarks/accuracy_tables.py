# SPDX-License-Identifier: Apache-2.0
"""Tables of how right the compact models are, and what each precision costs them.

Measuring does not belong here.
"""

from __future__ import annotations

from typing import Any

from table_text import machine_line, mean_and_spread, span

__all__ = ["claims_table", "nano_table", "precisions_table"]


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
                cells[0] = f"AP {shown['AP']:.3f} ({shown['people']} people; {span(aps, 3)})"
            if "photographs" in sets:
                shown = sets["photographs"]
                cells[1] = f"PCK@0.2 {shown['PCK@0.2']:.3f} ({shown['people']} people)"
            if "asked" in sets:
                shown = sets["asked"]
                asked = [value / 10 for value in shown["of each seed"]["G-MPJPE"]]
                free = [row["G-MPJPE"] for key, row in sets.items() if key.startswith("free")]
                free = [value for value in free if value is not None]
                cells[0] = (
                    f"asked {shown['G-MPJPE'] / 10:.1f} cm ({shown['people']} frames; {span(asked, 1)})"
                )
                if free:
                    cells[0] += f", free {sum(free) / len(free) / 10:.1f} cm"
            low, median, high = (1000 * time[key] for key in ("p10", "median", "p90"))
            cells.append(f"{median:.0f} ({low:.0f} to {high:.0f})")
            lines.append("| " + " | ".join([name, way, *cells]) + " |")
            name = ""
    limits = [found["time"]["limits"] for found in result["models"].values()]
    return "\n".join([*lines, "", machine_line(result["machine"], limits)])


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
            shown = ", ".join(f"{name} {mean_and_spread(values)}" for name, values in figures.items())
            seeds = len(next(iter(figures.values())))
            lines.append(f"| {text} | {side} | {shown} | {seeds} |")
            text = ""
    limits = [result[claim]["limits"] for claim in claims]
    return "\n".join([*lines, "", machine_line(result["machine"], limits)])


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
    return "\n".join([*lines, "", machine_line(result["machine"], limits)])
