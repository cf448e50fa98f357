# SPDX-License-Identifier: Apache-2.0
"""The bundle format, version 1: what `bundle.json` says and when it is refused.

The files beside it do not belong here: see `edgepose.bundle`, from which all of this is meant to be imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edgepose.errors import BundleError, InvalidInputError
from edgepose.keypoints import KEYPOINT_SETS, KeypointText
from edgepose.records import read_record, shorten, write_value

FORMAT_VERSION = 1
"""The newest bundle format that this module reads, and the one it writes."""

FAMILIES = ("posellm", "locllm")
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

_PLACEHOLDERS = ("name", "description", "question")


def graph_file(graph: str) -> str:
    """File name of a graph: `vision_encoder` -> `vision_encoder.onnx`."""
    return f"{graph}.onnx"


def external_data_file(graph: str) -> str:
    """File name of a graph's external weights: `llm_decoder` -> `llm_decoder.onnx.data`."""
    return f"{graph}.onnx.data"


@dataclass(frozen=True, slots=True)
class PrecisionSpec:
    """Number types of a bundle; the allowed combinations are `PRECISIONS`."""

    name: Literal["fp32", "fp16", "int4", "int4-fp16"]
    weights: Literal["float32", "float16", "int4"]
    """Type of the large weight matrices of the decoder."""
    activations: Literal["float32", "float16"]
    """Type of pixels, features, embeddings, hidden states and KV."""


PRECISIONS: Mapping[str, PrecisionSpec] = {
    spec.name: spec
    for spec in (
        PrecisionSpec("fp32", "float32", "float32"),
        PrecisionSpec("fp16", "float16", "float16"),
        PrecisionSpec("int4", "int4", "float32"),
        PrecisionSpec("int4-fp16", "int4", "float16"),
    )
}
"""Every precision by name."""


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How a box of an image becomes the pixels of the vision encoder."""

    size: int
    """Side of the square crop, pixels."""
    scale: float
    """Side of the square in the image over the longer side of the box."""
    mean: tuple[float, ...]
    """(3,) RGB, subtracted after division by 255."""
    std: tuple[float, ...]
    """(3,) RGB, divided by last."""


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """Shape of the vision features."""

    patches: int
    """Patches per image, which is also how many positions an image takes in the prompt."""
    hidden: int
    """Width of one patch feature before the connector."""


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """Sizes of the language model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float
    vocabulary: int
    """Rows of the embedding table and of the language model head."""
    max_positions: int
    """Longest sequence the model was made for, tokens."""


@dataclass(frozen=True, slots=True)
class PromptSegment:
    """One piece of the prompt prefix: exactly one of the three fields is set."""

    tokens: tuple[int, ...] | None = None
    """Token ids as they are."""
    text: str | None = None
    """Text to encode on its own."""
    image: int | None = None
    """Number of positions that image embeddings take."""


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """The prompt: a prefix that all questions share and a suffix per question."""

    format: Literal["keypoint", "simple", "llama2"]
    prefix: tuple[PromptSegment, ...]
    """Segments in order; one of them is the image."""
    suffix: str
    """Text after the prefix with the placeholders {name}, {description}, {question}; encoded as one text."""


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """How a coordinate is written in tokens: ` [0.ddd,0.ddd]`, or ` [0.ddd,0.ddd,0.dddddd]` with a depth."""

    kind: Literal["digit"]
    places: tuple[int, ...]
    """Decimal places of each number of an answer: x, y and, where there are three, depth."""
    open: int
    """Token id of ` [`."""
    zero: int
    """Token id of the `0` before the point."""
    point: int
    comma: int
    close: int
    digits: tuple[int, ...]
    """(10,) token ids of `0` ... `9`."""
    end: int
    """Token id that ends an answer."""
    pad: int
    answer_tokens: int
    """Tokens of a whole answer without the end token."""
    cleanup_spaces: bool
    """Whether the checkpoint's tokenizer removes blanks before punctuation when it decodes."""
    depth_range_mm: float | None = None
    """Millimetres that the third number spans, 0.5 at the root joint; there exactly with three `places`."""


@dataclass(frozen=True, slots=True)
class KeypointTextSpec:
    """What the prompt says about one keypoint."""

    description: str
    question: str | None = None


@dataclass(frozen=True, slots=True)
class KeypointsSpec:
    """The keypoints a bundle knows by name."""

    default: str
    """Name of the keypoint set that is located when the user names none."""
    texts: Mapping[str, KeypointTextSpec]
    source: str
    """`edgepose` for the package's own wording, else the file name the texts came from."""

    def named(self) -> dict[str, KeypointText]:
        """The texts as the user meets them.

        Raises:
            InvalidInputError: a name or text is not usable; never for the manifest of an open bundle.
        """
        return {
            name: KeypointText(name, text.description, text.question) for name, text in self.texts.items()
        }


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
    crop: CropSpec
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

    def to_json(self) -> dict[str, Any]:
        """The value to pass to `json.dumps`; `from_json` reads it back to an equal manifest."""
        written: dict[str, Any] = write_value(self)
        return written


def refusal(where: str, problems: list[str]) -> str:
    listed = problems[0] if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
    count = "" if len(problems) == 1 else f"{len(problems)} problems:"
    return (
        f"[bundle {where}] expected a complete bundle of format version {FORMAT_VERSION}; got {count}{listed}"
        f"{'; ' if len(problems) == 1 else chr(10)}copy the bundle again from where it was made, or run "
        "`edgepose export` again"
    )


def parse_manifest(value: object, where: str) -> tuple[Manifest | None, list[str]]:
    """The manifest, or None with the problems of its structure; or a manifest with problems of sense."""
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
    problems: list[str] = []

    def expect(holds: bool, where: str, expected: str, got: object) -> None:
        if not holds:
            problems.append(f"{where}: expected {expected}; got {shorten(got)}")

    def within(where: str, got: float, low: float, high: float) -> None:
        expect(low <= got <= high, where, f"{low} to {high}", got)

    within("format_version", m.format_version, 1, FORMAT_VERSION)
    expect(m.family in FAMILIES, "family", f"one of {', '.join(FAMILIES)}", m.family)
    expect(
        m.precision == PRECISIONS[m.precision.name],
        "precision",
        f"{PRECISIONS[m.precision.name]}",
        m.precision,
    )

    within("crop.size", m.crop.size, 1, 8192)
    within("crop.scale", m.crop.scale, 0.01, 100)
    for name, triple in (("mean", m.crop.mean), ("std", m.crop.std)):
        expect(len(triple) == 3, f"crop.{name}", "3 numbers", triple)
    expect(all(s > 0 for s in m.crop.std), "crop.std", "numbers above 0", m.crop.std)
    within("vision.patches", m.vision.patches, 1, 1 << 16)
    within("vision.hidden", m.vision.hidden, 1, 1 << 16)

    d = m.decoder
    sizes = {"hidden": 1 << 16, "layers": 1024, "heads": 1024, "kv_heads": 1024, "head_dim": 4096}
    for name, largest in {**sizes, "vocabulary": 1 << 22, "max_positions": 1 << 22}.items():
        within(f"decoder.{name}", getattr(d, name), 1, largest)
    expect(d.rope_theta > 0, "decoder.rope_theta", "a number above 0", d.rope_theta)
    expect(d.head_dim % 2 == 0, "decoder.head_dim", "an even number", d.head_dim)
    expect(
        d.kv_heads > 0 and d.heads % d.kv_heads == 0,
        "decoder.kv_heads",
        f"a divisor of decoder.heads = {d.heads}",
        d.kv_heads,
    )

    def tokens(where: str, ids: tuple[int, ...]) -> None:
        outside = [i for i in ids if not 0 <= i < d.vocabulary]
        expect(not outside, where, f"token ids in [0, {d.vocabulary})", outside)

    _check_prompt(m, expect, tokens)
    _check_codec(m.codec, expect, tokens)

    tokens("answer_head", m.answer_head)
    ascending = all(a < b for a, b in zip(m.answer_head[:-1], m.answer_head[1:], strict=True))
    expect(
        ascending and len(m.answer_head) > 0,
        "answer_head",
        "ascending token ids, at least one",
        m.answer_head,
    )
    missing = sorted(set(m.codec.digits) - set(m.answer_head))
    expect(not missing, "answer_head", "all ids of codec.digits in it", f"missing {missing}")

    _check_keypoints(m.keypoints, expect)
    for name in (*(graph_file(g) for g in GRAPHS), EMBEDDINGS_FILE, TOKENIZER_FILE, GOLDENS_FILE):
        if name not in m.files:
            problems.append(f"files.{name}: missing")
    for name, spec in m.files.items():
        is_hash = re.fullmatch("[0-9a-f]{64}", spec.sha256) is not None
        expect(is_hash, f"files.{name}.sha256", "64 lower-case hex digits", spec.sha256)
        expect(spec.bytes >= 0, f"files.{name}.bytes", "a size", spec.bytes)
    return problems


_Expect: TypeAlias = Callable[[bool, str, str, object], None]
_Tokens: TypeAlias = Callable[[str, tuple[int, ...]], None]


def _check_prompt(m: Manifest, expect: _Expect, tokens: _Tokens) -> None:
    images = []
    for index, segment in enumerate(m.prompt.prefix):
        where = f"prompt.prefix[{index}]"
        given = [part for part in (segment.tokens, segment.text, segment.image) if part is not None]
        expect(len(given) == 1, where, "exactly one of tokens, text, image", write_value(segment))
        tokens(f"{where}.tokens", segment.tokens or ())
        if segment.image is not None:
            images.append(segment.image)
    expect(
        images == [m.vision.patches], "prompt.prefix", f"one image of {m.vision.patches} positions", images
    )
    names = re.findall(r"\{([^{}]*)\}", m.prompt.suffix)
    unknown = [name for name in names if name not in _PLACEHOLDERS]
    expect(
        bool(names) and not unknown,
        "prompt.suffix",
        f"placeholders out of {', '.join(_PLACEHOLDERS)}, at least one",
        unknown or m.prompt.suffix,
    )


def _check_codec(codec: CodecSpec, expect: _Expect, tokens: _Tokens) -> None:
    for name in ("open", "zero", "point", "comma", "close", "end", "pad"):
        tokens(f"codec.{name}", (getattr(codec, name),))
    tokens("codec.digits", codec.digits)
    expect(
        len(set(codec.digits)) == 10 == len(codec.digits), "codec.digits", "10 different ids", codec.digits
    )
    expect(codec.zero in codec.digits[:1], "codec.zero", "the id of the digit 0", codec.zero)
    places = codec.places
    expect(
        2 <= len(places) <= 3 and all(1 <= p <= 9 for p in places),
        "codec.places",
        "2 or 3 counts of 1 to 9",
        places,
    )
    length = 2 + sum(2 + p for p in places) + len(places) - 1
    expect(
        codec.answer_tokens == length,
        "codec.answer_tokens",
        f"{length} for these places",
        codec.answer_tokens,
    )
    depth = codec.depth_range_mm
    deep = len(places) == 3
    expect(
        depth is not None and depth > 0 if deep else depth is None,
        "codec.depth_range_mm",
        f"{'millimetres above 0' if deep else 'none'} for {len(places)} places",
        depth,
    )


def _check_keypoints(keypoints: KeypointsSpec, expect: _Expect) -> None:
    default = KEYPOINT_SETS.get(keypoints.default)
    expect(default is not None, "keypoints.default", f"one of {', '.join(KEYPOINT_SETS)}", keypoints.default)
    missing = [name for name in default.keypoints if name not in keypoints.texts] if default else []
    expect(
        not missing,
        "keypoints.texts",
        f"a text for each keypoint of {keypoints.default}",
        f"none for {missing}",
    )
    for name, text in keypoints.texts.items():
        try:
            KeypointText(name, text.description, text.question)
        except InvalidInputError as error:
            expect(False, f"keypoints.texts.{name}", "a usable name and one-line texts", str(error))
