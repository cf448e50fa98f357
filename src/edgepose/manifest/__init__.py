# SPDX-License-Identifier: Apache-2.0
"""The bundle format, version 2: what `bundle.json` says and when it is refused.

The files beside it do not belong here: see `edgepose.bundle`, from which all of this is meant to be imported.

Version 2 adds to version 1 whole frames (`frame`, `vision.grid`), bin codecs, M-RoPE and DeepStack of the
decoder, and prompts that end behind the question. Every manifest of version 1 reads as one of version 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgepose.errors import BundleError
from edgepose.manifest.bin_codec import BLOCKS, MARKERS, BinCodecSpec, LayoutSpec
from edgepose.manifest.checks import Check
from edgepose.manifest.decoder import DecoderSpec
from edgepose.manifest.digit_codec import DigitCodecSpec
from edgepose.manifest.keypoints import KeypointsSpec, KeypointTextSpec
from edgepose.manifest.precision import PRECISIONS, PrecisionSpec
from edgepose.manifest.prompt import PromptSegment, PromptSpec
from edgepose.manifest.view import CropSpec, FrameSpec, PatchGridSpec, VisionSpec
from edgepose.records import read_record, shorten, write_value

__all__ = [
    "ANSWER_HEAD",
    "BLOCKS",
    "CONNECTOR",
    "EMBEDDINGS_FILE",
    "FAMILIES",
    "FORMAT_VERSION",
    "GOLDENS_FILE",
    "GRAPHS",
    "LLM_DECODER",
    "LM_HEAD",
    "MANIFEST_FILE",
    "MARKERS",
    "PRECISIONS",
    "TOKENIZER_FILE",
    "VISION_ENCODER",
    "BinCodecSpec",
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
    "external_data_file",
    "graph_file",
    "parse_manifest",
    "refusal",
]

FORMAT_VERSION = 2
"""The newest bundle format that this module reads, and the one it writes."""

FAMILIES = ("posellm", "locllm", "taihri")
"""Systems a bundle may come from."""

MANIFEST_FILE = "bundle.json"
EMBEDDINGS_FILE = "embeddings.npy"
TOKENIZER_FILE = "tokenizer.json"
GOLDENS_FILE = "goldens.npz"

VISION_ENCODER = "vision_encoder"
CONNECTOR = "connector"
LLM_DECODER = "llm_decoder"
LM_HEAD = "lm_head"
ANSWER_HEAD = "answer_head"
GRAPHS = (VISION_ENCODER, CONNECTOR, LLM_DECODER, LM_HEAD, ANSWER_HEAD)
"""Names of the graphs in the order in which they run."""

CodecSpec: TypeAlias = DigitCodecSpec | BinCodecSpec
"""How coordinates are written in tokens, told apart by `kind`."""


def graph_file(graph: str) -> str:
    """File name of a graph: `vision_encoder` -> `vision_encoder.onnx`."""
    return f"{graph}.onnx"


def external_data_file(graph: str) -> str:
    """File name of a graph's external weights: `llm_decoder` -> `llm_decoder.onnx.data`."""
    return f"{graph}.onnx.data"


@dataclass(frozen=True, slots=True)
class FileSpec:
    """Identity of one file."""

    sha256: str
    """64 lower-case hexadecimal digits."""
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of `bundle.json`."""

    format_version: int
    family: str
    created_by: str
    """Program and version that wrote the bundle, for example `edgepose 0.1.0`."""
    precision: PrecisionSpec
    vision: VisionSpec
    decoder: DecoderSpec
    prompt: PromptSpec
    codec: CodecSpec
    answer_head: tuple[int, ...]
    """Token ids that the columns of `answer_head.onnx` stand for, ascending."""
    keypoints: KeypointsSpec
    files: Mapping[str, FileSpec]
    """Every file of the bundle except the manifest."""
    provenance: Mapping[str, object]
    """Where the weights came from and how they were treated; free form, for people."""
    parity: Mapping[str, object]
    """Per graph: how far it was from PyTorch at export; free form, for people."""
    crop: CropSpec | None = None
    """What the model sees of an image: the square around a person; this or `frame`."""
    frame: FrameSpec | None = None
    """What the model sees of an image: all of it, at one focal length."""

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Read a manifest from what `json.loads` returned.

        Raises:
            BundleError: format version, fields, types or values are wrong; the message lists all of them.
        """
        manifest, problems = parse_manifest(value, MANIFEST_FILE)
        if manifest is None or problems:
            raise BundleError(refusal(MANIFEST_FILE, problems))
        return manifest

    @property
    def view(self) -> CropSpec | FrameSpec:
        """What the model sees of an image: `crop` or `frame`, whichever there is."""
        view = self.crop or self.frame
        assert view is not None  # a manifest that was read has one
        return view

    def to_json(self) -> dict[str, Any]:
        """The value to pass to `json.dumps`; `from_json` reads it back to an equal manifest."""
        written: dict[str, Any] = write_value(self)
        return written


def refusal(where: str, problems: list[str]) -> str:
    """The message about a bundle with these problems."""
    listed = problems[0] if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
    count = "" if len(problems) == 1 else f"{len(problems)} problems:"
    return (
        f"[bundle {where}] expected a complete bundle of format version {FORMAT_VERSION}; got {count}{listed}"
        f"{'; ' if len(problems) == 1 else chr(10)}copy the bundle again from where it was made, or run "
        "`edgepose export` again"
    )


def parse_manifest(value: object, where: str) -> tuple[Manifest | None, list[str]]:
    """The manifest, or None with the problems of its structure; or a manifest with problems of sense.

    Raises:
        BundleError: it was written for a newer edgepose.
    """
    if isinstance(value, dict):
        version = value.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise BundleError(
                f"[bundle {where}] expected bundle format version {FORMAT_VERSION} or older; got version "
                f"{shorten(version)}, made by {shorten(value.get('created_by', 'an unnamed program'))}; "
                "upgrade edgepose (pip install --upgrade edgepose)"
            )
    problems: list[str] = []
    manifest = read_record(Manifest, value, "", problems)
    if manifest is not None:
        problems.extend(_sense_problems(manifest))
    return manifest, problems


def _sense_problems(m: Manifest) -> list[str]:
    """What is wrong with a manifest whose fields all have the right type."""
    check = Check(m.decoder.vocabulary)
    check.within("format_version", m.format_version, 1, FORMAT_VERSION)
    check.expect(m.family in FAMILIES, "family", f"one of {', '.join(FAMILIES)}", m.family)
    m.precision.check(check)
    views = [view for view in (m.crop, m.frame) if view is not None]
    given = " and ".join(name for name in ("crop", "frame") if getattr(m, name) is not None)
    check.expect(len(views) == 1, "crop", "exactly one of crop and frame", given or "neither")
    for view in views:
        view.check(check)
    m.vision.check(check, frames=m.frame is not None)
    m.decoder.check(check)
    m.prompt.check(check, patches=m.vision.patches)
    m.keypoints.check(check)
    m.codec.check(check, m.keypoints)

    check.tokens("answer_head", m.answer_head)
    ascending = all(a < b for a, b in zip(m.answer_head[:-1], m.answer_head[1:], strict=True))
    check.expect(
        ascending and len(m.answer_head) > 0,
        "answer_head",
        "ascending token ids, at least one",
        m.answer_head,
    )
    missing = sorted(m.codec.chosen_tokens - set(m.answer_head))
    check.expect(
        not missing, "answer_head", "all ids in it that the codec lets a model choose", f"missing {missing}"
    )
    problems = check.problems
    for name in (*(graph_file(g) for g in GRAPHS), EMBEDDINGS_FILE, TOKENIZER_FILE, GOLDENS_FILE):
        if name not in m.files:
            problems.append(f"files.{name}: missing")
    for name, spec in m.files.items():
        is_hash = re.fullmatch("[0-9a-f]{64}", spec.sha256) is not None
        check.expect(is_hash, f"files.{name}.sha256", "64 lower-case hex digits", spec.sha256)
        check.expect(spec.bytes >= 0, f"files.{name}.bytes", "a size", spec.bytes)
    return problems
