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

from edgepose.export.random_checkpoint import SIZES, write_random_checkpoint


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Write a checkpoint of random weights in the published layout of LocLLM or PoseLLM."
    )
    parser.add_argument("out", help="directory to write")
    parser.add_argument("--family", choices=("locllm", "posellm"), default="locllm")
    parser.add_argument("--size", choices=tuple(SIZES), default="small", help="published needs 14 GB of disk")
    for field in dataclasses.fields(SIZES["small"]):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=int, metavar="N", help="instead of the value of --size")
    parser.add_argument("--format", choices=("bin", "safetensors"), default="bin")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--no-adapters", action="store_true", help="write no low-rank adapters")
    parser.add_argument("--legacy", action="store_true", help="tokenizer_config.json says legacy: true")
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="SentencePiece model to copy; default: train a tiny one"
    )
    parser.add_argument("--shard-megabytes", type=int, default=2048, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    names = [field.name for field in dataclasses.fields(SIZES["small"])]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
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
        size=dataclasses.replace(SIZES[options.size], **given),
        tokenizer=options.tokenizer,
        file_format=options.format,
        dtype=options.dtype,
        adapters=not options.no_adapters,
        legacy=options.legacy,
        shard_bytes=options.shard_megabytes << 20,
        seed=options.seed,
        progress=progress,
    )
    print(folder)


if __name__ == "__main__":
    main()
