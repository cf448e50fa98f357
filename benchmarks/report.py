# SPDX-License-Identifier: Apache-2.0
"""Writes the figures of README.md and docs from benchmarks/results, between markers; `--check` only compares.

    python benchmarks/report.py [--check]

Measuring does not belong here, nor what a table looks like.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accuracy_tables import claims_table, nano_table, precisions_table
from speed_tables import ask_table, engines_table, full_size_table, locate_table, track_table

TREE = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
Tables = Mapping[str, Callable[[dict[str, Any]], str]]
PAGES: Mapping[str, Tables] = {
    "README.md": {
        "ask": ask_table,
        "locate": locate_table,
        "full_size": full_size_table,
        "full_size_taihri": full_size_table,
        "nano": nano_table,
        "track": track_table,
        "claims": claims_table,
        "precisions": precisions_table,
    },
    "docs/engines.md": {"engines": engines_table},
}
"""By page: tables by the name of their result file."""


def render(page: str, text: str) -> str:
    """A page with every table between its markers brought up to date."""
    for name, make in PAGES[page].items():
        result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        begin, end = f"<!-- {name}: written by benchmarks/report.py -->", f"<!-- end of {name} -->"
        if end not in text.partition(begin)[2]:
            raise SystemExit(f"{page} has no markers for {name}: {begin} ... {end}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{make(result)}\n{end}{rest.partition(end)[2]}"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a page is stale")
    options = parser.parse_args(argv)
    stale = 0
    for page in PAGES:
        text = (TREE / page).read_text(encoding="utf-8")
        rendered = render(page, text)
        if options.check:
            stale |= int(rendered != text)
        else:
            (TREE / page).write_text(rendered, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
