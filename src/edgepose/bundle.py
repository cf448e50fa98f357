# SPDX-License-Identifier: Apache-2.0
"""Bundles on disk: which files stand beside `bundle.json`, how one is opened, and when it is refused.

Running or writing graphs does not belong here: the exporter and the runtime meet in this module only.

A bundle is a flat directory:

    bundle.json           the manifest; the dataclasses of `edgepose.manifest` are its description
    vision_encoder.onnx   what the encoder sees -> features
                          crops: pixels (B, 3, size, size) -> features (B, patches, vision hidden)
                          frames: patches (P, 3 * patch * patch), position_indices (4, P) int64,
                          position_weights (4, P) float32, cos and sin (P, head_dim) float32, all of
                          `edgepose.patches` -> features and tap.0, tap.1, ... (P, vision hidden)
    connector.onnx        all of these -> image_embeddings (B, patches, hidden)
                          frames: image_embeddings and deepstack.0, deepstack.1, ... (R, hidden)
    llm_decoder.onnx      embeddings, cached KV and deepstack.k -> new keys, new values, hidden at the asked
                          positions
    lm_head.onnx          hidden (M, hidden) -> logits (M, vocabulary) float32
    answer_head.onnx      hidden (M, hidden) -> logits (M, len(answer_head)) float32
    NAME.onnx.data        external weights of NAME.onnx, where it has any
    embeddings.npy        (vocabulary, hidden) in the activation type, C order
    tokenizer.json        for the `tokenizers` library
    goldens.npz           inputs and outputs stored at export, for `edgepose verify`
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgepose.builtin import builtin_models, bundle_path
from edgepose.errors import BundleError
from edgepose.manifest import (
    ANSWER_HEAD,
    CONNECTOR,
    EMBEDDINGS_FILE,
    FAMILIES,
    FORMAT_VERSION,
    GOLDENS_FILE,
    GRAPHS,
    LLM_DECODER,
    LM_HEAD,
    MANIFEST_FILE,
    PRECISIONS,
    TOKENIZER_FILE,
    VISION_ENCODER,
    BinCodecSpec,
    CodecSpec,
    CropSpec,
    DecoderSpec,
    DigitCodecSpec,
    FileSpec,
    FrameSpec,
    KeypointsSpec,
    KeypointTextSpec,
    LayoutSpec,
    Manifest,
    PatchGridSpec,
    PrecisionSpec,
    PromptSegment,
    PromptSpec,
    VisionSpec,
    external_data_file,
    graph_file,
    parse_manifest,
    refusal,
)
from edgepose.records import read_value, shorten

if TYPE_CHECKING:
    import numpy as np
    import tokenizers

__all__ = [
    "ANSWER_HEAD",
    "CONNECTOR",
    "EMBEDDINGS_FILE",
    "FAMILIES",
    "FORMAT_VERSION",
    "GOLDENS_FILE",
    "GRAPHS",
    "LLM_DECODER",
    "LM_HEAD",
    "MANIFEST_FILE",
    "PRECISIONS",
    "TOKENIZER_FILE",
    "VISION_ENCODER",
    "BinCodecSpec",
    "Bundle",
    "CodecSpec",
    "CropSpec",
    "DecoderSpec",
    "DigitCodecSpec",
    "FileSpec",
    "FrameSpec",
    "KeypointTextSpec",
    "KeypointsSpec",
    "LayoutSpec",
    "Manifest",
    "PatchGridSpec",
    "PrecisionSpec",
    "Progress",
    "PromptSegment",
    "PromptSpec",
    "VisionSpec",
    "describe_files",
    "external_data_file",
    "graph_file",
    "hash_file",
    "read_manifest",
    "write_manifest",
]

Progress: TypeAlias = Callable[[str, int, int], None]
"""`progress(stage, done, total)`: called while something long goes on; `done == total` ends a stage."""

_HASHED_ON_OPEN = 64 << 20  # bytes; larger files are hashed by Bundle.check_hashes only
_LARGEST_MANIFEST = 16 << 20  # bytes
_CHUNK = 4 << 20  # bytes
_FILE_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}")


def read_manifest(directory: str | os.PathLike[str]) -> Manifest:
    """Read and check `bundle.json` without looking at the other files.

    Raises:
        BundleError: the directory or the file is missing, or the manifest is refused.
    """
    root = Path(directory)
    manifest, problems = parse_manifest(_load_json(root), str(root))
    if manifest is None or problems:
        raise BundleError(refusal(str(root), problems))
    return manifest


def write_manifest(directory: str | os.PathLike[str], manifest: Manifest) -> Path:
    """Write `bundle.json` into a directory in one step, after checking that it will be accepted again.

    Raises:
        BundleError: the manifest would be refused when read.
    """
    value = manifest.to_json()
    Manifest.from_json(value)
    target = Path(directory) / MANIFEST_FILE
    partial = target.with_suffix(".json.partial")
    partial.write_text(
        json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    partial.replace(target)
    return target


def hash_file(path: str | os.PathLike[str], progress: Progress | None = None) -> str:
    """SHA-256 of a file as 64 lower-case hexadecimal digits."""
    file = Path(path)
    total = file.stat().st_size
    digest, done = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(f"hash {file.name}", done, max(done, total))
    return digest.hexdigest()


def describe_files(
    directory: str | os.PathLike[str], progress: Progress | None = None
) -> dict[str, FileSpec]:
    """The `files` entry for a directory: every file in it except the manifest, sorted by name."""
    files = sorted(
        f for f in Path(directory).iterdir() if f.is_file() and not f.name.startswith(MANIFEST_FILE)
    )
    return {f.name: FileSpec(sha256=hash_file(f, progress), bytes=f.stat().st_size) for f in files}


class Bundle:
    """A bundle that has been checked and may be run.

    `open` checks the manifest, the presence and size of every file, the hashes of the files up to 64 MiB and
    the embedding table; `check_hashes` reads the large files as well, which takes seconds per gigabyte.
    """

    path: Path
    """The directory."""
    manifest: Manifest
    embeddings: np.memmap[Any, np.dtype[Any]]
    """(vocabulary, hidden) float32 or float16, memory-mapped read-only."""

    def __init__(self, path: Path, manifest: Manifest, embeddings: np.memmap[Any, np.dtype[Any]]) -> None:
        self.path = path
        self.manifest = manifest
        self.embeddings = embeddings

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a bundle directory, or a model that ships with the package by its name.

        Raises:
            BundleError: it is not a bundle, was written for a newer edgepose, or does not hold what its
                manifest says; the message lists every problem found.
        """
        root = bundle_path(path)
        value = _load_json(root)
        manifest, problems = parse_manifest(value, str(root))
        # Look at the files even where the manifest is wrong, so that one message tells all.
        unreadable: list[str] = []
        listed: Mapping[str, FileSpec] = read_value(
            Mapping[str, FileSpec], value.get("files"), "files", unreadable
        )
        sound = set() if unreadable else _check_files(root, listed, problems)
        embeddings = None
        if manifest is not None and EMBEDDINGS_FILE in sound:
            embeddings = _open_embeddings(root / EMBEDDINGS_FILE, manifest, problems)
        if manifest is None or embeddings is None or problems:
            raise BundleError(refusal(str(root), problems))
        return cls(root, manifest, embeddings)

    def graph(self, name: str) -> Path:
        """Path of a graph of `GRAPHS`.

        Raises:
            KeyError: there is no graph of that name.
        """
        if name not in GRAPHS:
            raise KeyError(name)
        return self.path / graph_file(name)

    @property
    def goldens(self) -> Path:
        """Path of the stored inputs and outputs."""
        return self.path / GOLDENS_FILE

    @cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer, loaded at first use.

        Raises:
            BundleError: `tokenizer.json` cannot be read, or has more tokens than the embedding table rows.
        """
        import tokenizers

        file = self.path / TOKENIZER_FILE
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(
                f"[bundle {self.path}] expected {TOKENIZER_FILE} to be readable by the tokenizers library; "
                f"got: {error}; export the bundle again"
            ) from error
        # A "</s>" in a keypoint's description is text. The file cannot say so, hence here.
        tokenizer.encode_special_tokens = True
        size = tokenizer.get_vocab_size(with_added_tokens=False)
        if size > self.manifest.decoder.vocabulary:
            raise BundleError(
                f"[bundle {self.path}] expected at most {self.manifest.decoder.vocabulary} tokens in "
                f"{TOKENIZER_FILE}, one per embedding row; got {size}; export the bundle again"
            )
        return tokenizer

    def check_hashes(self, progress: Progress | None = None) -> None:
        """Compare the SHA-256 of every file with the manifest, those above 64 MiB included.

        Raises:
            BundleError: at least one file differs; the message lists all of them.
        """
        total = sum(spec.bytes for spec in self.manifest.files.values())
        done = 0
        problems: list[str] = []

        def overall(_: str, part: int, __: int) -> None:
            if progress is not None:
                progress("check files", min(done + part, total), total)

        for name, spec in self.manifest.files.items():
            _check_hash(self.path / name, spec, problems, overall)
            done += spec.bytes
        if problems:
            raise BundleError(refusal(str(self.path), problems))

    def __repr__(self) -> str:
        m = self.manifest
        return (
            f"Bundle({str(self.path)!r}, {m.family}, {m.precision.name}, {m.decoder.layers} layers x "
            f"{m.decoder.hidden}, {sum(f.bytes for f in m.files.values()) / 1e6:.1f} MB)"
        )


def _load_json(root: Path) -> dict[str, Any]:
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


def _check_files(root: Path, files: Mapping[str, FileSpec], problems: list[str]) -> set[str]:
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
            elif spec.bytes > _HASHED_ON_OPEN or _check_hash(file, spec, problems):
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


def _check_hash(file: Path, spec: FileSpec, problems: list[str], progress: Progress | None = None) -> bool:
    try:
        got = hash_file(file, progress)
    except OSError as error:
        problems.append(f"{file.name}: expected a readable file; got: {error}")
        return False
    if got != spec.sha256:
        problems.append(f"{file.name}: expected SHA-256 {spec.sha256}; got {got} (changed since export)")
    return got == spec.sha256


def _open_embeddings(
    file: Path, manifest: Manifest, problems: list[str]
) -> np.memmap[Any, np.dtype[Any]] | None:
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
