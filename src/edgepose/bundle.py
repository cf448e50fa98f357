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

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.builtin import bundle_path
from edgepose.bundle_files import check_files, check_hash, load_json, open_embeddings, open_tokenizer
from edgepose.errors import BundleError
from edgepose.file_hash import hash_file
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
from edgepose.progress import Progress
from edgepose.records import read_value

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
    "PromptSegment",
    "PromptSpec",
    "VisionSpec",
    "describe_files",
    "external_data_file",
    "graph_file",
    "read_manifest",
    "write_manifest",
]


def read_manifest(directory: str | os.PathLike[str]) -> Manifest:
    """Read and check `bundle.json` without looking at the other files.

    Raises:
        BundleError: the directory or the file is missing, or the manifest is refused.
    """
    root = Path(directory)
    manifest, problems = parse_manifest(load_json(root), str(root))
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
        value = load_json(root)
        manifest, problems = parse_manifest(value, str(root))
        # Look at the files even where the manifest is wrong, so that one message tells all.
        unreadable: list[str] = []
        listed: Mapping[str, FileSpec] = read_value(
            Mapping[str, FileSpec], value.get("files"), "files", unreadable
        )
        sound = set() if unreadable else check_files(root, listed, problems)
        embeddings = None
        if manifest is not None and EMBEDDINGS_FILE in sound:
            embeddings = open_embeddings(root / EMBEDDINGS_FILE, manifest, problems)
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
        return open_tokenizer(self.path, self.manifest)

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
            check_hash(self.path / name, spec, problems, overall)
            done += spec.bytes
        if problems:
            raise BundleError(refusal(str(self.path), problems))

    def __repr__(self) -> str:
        m = self.manifest
        return (
            f"Bundle({str(self.path)!r}, {m.family}, {m.precision.name}, {m.decoder.layers} layers x "
            f"{m.decoder.hidden}, {sum(f.bytes for f in m.files.values()) / 1e6:.1f} MB)"
        )
