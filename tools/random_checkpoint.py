#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Command line of `edgepose.export.random_checkpoint`.

What is written, and how, is decided there.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from edgepose.export.random_checkpoint import SIZES_OF, write_random_checkpoint


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Write a checkpoint of random weights as LocLLM, PoseLLM or TAIHRI is published."
    )
    parser.add_argument("out", help="directory to write")
    parser.add_argument("--family", choices=tuple(SIZES_OF), default="locllm")
    parser.add_argument(
        "--size",
        choices=sorted({name for sizes in SIZES_OF.values() for name in sizes}),
        default="small",
        help="published (LocLLM, PoseLLM) needs 14 GB of disk, 2b (TAIHRI) 5 GB",
    )
    fields = _size_fields()
    for name, families in fields.items():
        option = "--" + name.replace("_", "-")
        of = ", ".join(families)
        parser.add_argument(option, type=int, metavar="N", help=f"instead of the value of --size ({of})")
    parser.add_argument("--untied", action="store_true", help="head apart from the embedding table (taihri)")
    parser.add_argument("--format", choices=("bin", "safetensors"), help="default: as published")
    parser.add_argument(
        "--dtype",
        choices=("float16", "bfloat16", "float32"),
        help="default: bfloat16 for taihri, else float16",
    )
    parser.add_argument(
        "--no-adapters", action="store_true", help="write no low-rank adapters (locllm, posellm)"
    )
    parser.add_argument(
        "--legacy", action="store_true", help="tokenizer_config.json says legacy: true (locllm, posellm)"
    )
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="SentencePiece model to copy (locllm, posellm); default: train a tiny one",
    )
    parser.add_argument("--shard-megabytes", type=int, default=2048, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    size = SIZES_OF[options.family].get(options.size)
    if size is None:
        parser.error(f"--size {options.size}: {options.family} has {', '.join(SIZES_OF[options.family])}")
    given: dict[str, Any] = {
        name: getattr(options, name) for name in fields if getattr(options, name) is not None
    }
    if options.untied:
        given["tied"] = False
    foreign = set(given) - {field.name for field in dataclasses.fields(size)}
    if foreign:
        parser.error(f"{options.family} has no {', '.join(sorted(foreign))}")
    last = -1

    def progress(done: int, total: int) -> None:
        nonlocal last
        if sys.stderr.isatty() and done * 100 // total != last:
            last = done * 100 // total
            print(
                f"\r{last:3d} % of {total / 1e9:.1f} GB", end="\n" if done == total else "", file=sys.stderr
            )

    folder = write_random_checkpoint(
        options.out,
        family=options.family,
        size=dataclasses.replace(size, **given),
        tokenizer=options.tokenizer,
        file_format=options.format,
        dtype=options.dtype,
        adapters=False if options.no_adapters else None,
        legacy=True if options.legacy else None,
        shard_bytes=options.shard_megabytes << 20,
        seed=options.seed,
        progress=progress,
    )
    print(folder)


def _size_fields() -> dict[str, list[str]]:
    """Sizes that are one number, each with the families that have it."""
    fields: dict[str, list[str]] = {}
    for family, sizes in SIZES_OF.items():
        for field in dataclasses.fields(sizes["small"]):
            if field.name not in ("taps", "tied"):
                fields.setdefault(field.name, []).append(family)
    return fields


if __name__ == "__main__":
    main()
