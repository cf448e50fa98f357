# SPDX-License-Identifier: Apache-2.0
"""Files of a bundle directory: each is read, or found not to be what the manifest lists.

What the manifest may say does not belong here: see `edgepose.manifest`. Problems are collected, one line
each, so that whoever opens a bundle names all of them at once.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.builtin import builtin_models
from edgepose.errors import BundleError
from edgepose.file_hash import hash_file
from edgepose.manifest import (
    GRAPHS,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    FileSpec,
    Manifest,
    external_data_file,
)
from edgepose.progress import Progress
from edgepose.records import shorten

if TYPE_CHECKING:
    import numpy as np
    import tokenizers

__all__ = ["check_files", "check_hash", "load_json", "open_embeddings", "open_tokenizer"]

_HASHED_ON_OPEN = 64 << 20  # bytes; larger files are hashed by Bundle.check_hashes only
_LARGEST_MANIFEST = 16 << 20  # bytes
_FILE_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}")


def load_json(root: Path) -> dict[str, Any]:
    """The object in `bundle.json`, whatever it says.

    Raises:
        BundleError: there is no bundle, or no JSON object in its manifest.
    """
    if not root.is_dir():
        got = "a file" if root.exists() else "nothing there"
        names = "".join(f", or the name {name}" for name in builtin_models())
        raise BundleError(
            f"[bundle {root}] expected a bundle directory; got {got}; "
            f"pass the directory that holds {MANIFEST_FILE}{names}"
        )
    file = root / MANIFEST_FILE
    if not file.is_file():
        raise BundleError(
            f"[bundle {root}] expected a file {MANIFEST_FILE}; got none; pass a directory that "
            "`edgepose export` has written (a checkpoint must be exported first)"
        )
    try:
        size = file.stat().st_size
        if size > _LARGEST_MANIFEST:
            raise ValueError(f"{size} bytes, more than {_LARGEST_MANIFEST}")
        value = json.loads(
            file.read_bytes().decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_repeats
        )
        if not isinstance(value, dict):
            raise ValueError(f"top level is {shorten(value)}, not an object")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"[bundle {root}] expected {MANIFEST_FILE} to be a JSON object in UTF-8; got: {error}; copy the "
            "bundle again or run `edgepose export` again"
        ) from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"repeated field {', '.join(repeated)}")
    return value


def check_files(root: Path, files: Mapping[str, FileSpec], problems: list[str]) -> set[str]:
    """Look at the listed files on disk; returns the names that are as listed."""
    sound = set()
    inside = root.resolve()
    for name, spec in files.items():
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST_FILE:
            problems.append(f"files: expected plain file names inside the bundle; got {shorten(name)}")
            continue
        file = root / name
        try:
            status = file.stat()
            if inside not in file.resolve().parents:
                problems.append(f"{name}: expected a file inside the bundle; got a link to {file.resolve()}")
            elif not stat.S_ISREG(status.st_mode):
                problems.append(f"{name}: expected a regular file; got something else")
            elif status.st_size != spec.bytes:
                short = " (truncated)" if status.st_size < spec.bytes else ""
                problems.append(f"{name}: expected {spec.bytes} bytes; got {status.st_size}{short}")
            elif spec.bytes > _HASHED_ON_OPEN or check_hash(file, spec, problems):
                sound.add(name)
        except FileNotFoundError:
            problems.append(f"{name}: expected {spec.bytes} bytes; got no such file")
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links on Python 3.10
            problems.append(f"{name}: expected a readable file; got: {error}")
    for graph in GRAPHS:
        data = external_data_file(graph)
        if data not in files and os.path.lexists(root / data):
            problems.append(f"{data}: expected it to be listed under files; got an unlisted file")
    return sound


def check_hash(file: Path, spec: FileSpec, problems: list[str], progress: Progress | None = None) -> bool:
    """Compare a file with the SHA-256 that is listed; whether they agree."""
    try:
        got = hash_file(file, progress)
    except OSError as error:
        problems.append(f"{file.name}: expected a readable file; got: {error}")
        return False
    if got != spec.sha256:
        problems.append(f"{file.name}: expected SHA-256 {spec.sha256}; got {got} (changed since export)")
    return got == spec.sha256


def open_embeddings(
    file: Path, manifest: Manifest, problems: list[str]
) -> np.memmap[Any, np.dtype[Any]] | None:
    """The embedding table, memory-mapped read-only; None where it is not what the manifest says."""
    import numpy as np

    shape = (manifest.decoder.vocabulary, manifest.decoder.hidden)
    expected = f"{shape} {manifest.precision.activations} in C order"
    try:
        table = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        problems.append(f"{file.name}: expected {expected}; got: {error}")
        return None
    if not isinstance(table, np.memmap):
        problems.append(f"{file.name}: expected {expected}; got an archive, not one array")
        return None
    if (
        table.shape != shape
        or table.dtype != np.dtype(manifest.precision.activations)
        or not table.flags.c_contiguous
    ):
        order = "C" if table.flags.c_contiguous else "another"
        problems.append(f"{file.name}: expected {expected}; got {table.shape} {table.dtype} in {order} order")
        return None
    return table


def open_tokenizer(root: Path, manifest: Manifest) -> tokenizers.Tokenizer:
    """The tokenizer of a bundle.

    Raises:
        BundleError: `tokenizer.json` cannot be read, or has more tokens than the embedding table rows.
    """
    import tokenizers

    file = root / TOKENIZER_FILE
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise BundleError(
            f"[bundle {root}] expected {TOKENIZER_FILE} to be readable by the tokenizers library; "
            f"got: {error}; export the bundle again"
        ) from error
    # A "</s>" in a keypoint's description is text. The file cannot say so, hence here.
    tokenizer.encode_special_tokens = True
    size = tokenizer.get_vocab_size(with_added_tokens=False)
    if size > manifest.decoder.vocabulary:
        raise BundleError(
            f"[bundle {root}] expected at most {manifest.decoder.vocabulary} tokens in "
            f"{TOKENIZER_FILE}, one per embedding row; got {size}; export the bundle again"
        )
    return tokenizer
