# SPDX-License-Identifier: Apache-2.0
"""Bundles that open, and manifests that must be refused before anything runs."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.bundle import (
    FORMAT_VERSION,
    PRECISIONS,
    Bundle,
    FileSpec,
    Manifest,
    describe_files,
    read_manifest,
    write_manifest,
)
from edgepose.errors import BundleError, EdgePoseError

MakeBundle = Callable[..., Path]
Change = Callable[[dict[str, Any]], object]


def test_opens_and_gives_everything(make_bundle: MakeBundle) -> None:
    root = make_bundle()
    bundle = Bundle.open(str(root))
    assert bundle.path == root
    assert bundle.manifest.decoder.vocabulary == 40
    assert bundle.manifest.decoder.rope_theta == 10000.0
    assert isinstance(bundle.manifest.decoder.rope_theta, float)
    assert bundle.manifest.prompt.prefix[2].image == 4
    assert isinstance(bundle.embeddings, np.memmap)
    assert bundle.embeddings.shape == (40, 8)
    assert not bundle.embeddings.flags.writeable
    assert bundle.graph("lm_head") == root / "lm_head.onnx"
    assert bundle.goldens == root / "goldens.npz"
    assert "locllm, int4, 2 layers x 8" in repr(bundle)
    with pytest.raises(KeyError):
        bundle.graph("../secret")
    named = bundle.manifest.keypoints.named()
    assert len(named) == 24 and named["nose"].name == "nose"


def test_manifest_round_trip(make_bundle: MakeBundle, tmp_path: Path) -> None:
    manifest = Bundle.open(make_bundle()).manifest
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    written = write_manifest(tmp_path, manifest)
    assert written.name == "bundle.json" and read_manifest(tmp_path) == manifest
    assert [f.name for f in tmp_path.iterdir() if f.is_file()] == ["bundle.json"]


def test_answers_with_a_depth(make_bundle: MakeBundle) -> None:
    manifest = Bundle.open(make_bundle(_set_depth(2000))).manifest
    assert (manifest.codec.places, manifest.codec.depth_range_mm) == ((3, 3, 6), 2000.0)
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    stored = Bundle.open(Path(__file__).parent / "data" / "bundle_v1").manifest
    assert stored.codec.depth_range_mm is None and "depth_range_mm" not in stored.to_json()["codec"]


def test_write_manifest_refuses_what_would_not_open(make_bundle: MakeBundle, tmp_path: Path) -> None:
    import dataclasses

    manifest = dataclasses.replace(Bundle.open(make_bundle()).manifest, family="unheard-of")
    with pytest.raises(BundleError, match="family.*unheard-of"):
        write_manifest(tmp_path, manifest)
    assert not (tmp_path / "bundle.json").exists()


def test_files_are_described(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"ten bytes!")
    (tmp_path / "bundle.json.partial").write_bytes(b"{")
    (tmp_path / "folder").mkdir()
    assert describe_files(tmp_path) == {"f": FileSpec(hashlib.sha256(b"ten bytes!").hexdigest(), 10)}


def test_newer_format(make_bundle: MakeBundle) -> None:
    def newer(m: dict[str, Any]) -> None:
        m.clear()
        m.update(format_version=FORMAT_VERSION + 1, created_by="edgepose 9.1", unknown_part={})

    with pytest.raises(BundleError, match="got version 3, made by 'edgepose 9.1'; upgrade edgepose"):
        Bundle.open(make_bundle(newer))


def _set(path: str, value: object) -> Change:
    def change(m: Any) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        for name in parents:
            m = m[name]
        m[last] = value

    return change


def _set_depth(range_mm: object) -> Change:
    def change(m: dict[str, Any]) -> None:
        m["codec"].update(places=[3, 3, 6], answer_tokens=22, depth_range_mm=range_mm)

    return change


def _drop(path: str) -> Change:
    def change(m: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for name in parents:
            m = m[name]
        del m[last]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format_version", 0), "format_version: expected 1 to 2; got 0"),
        (_set("format_version", "1"), "format_version: expected a whole number; got '1'"),
        (_set("format_version", True), "format_version: expected a whole number; got True"),
        (_set("format_version", None), "format_version: expected a whole number; got None"),
        (_drop("format_version"), "format_version: missing"),
        (_set("family", "mimic"), "family: expected one of posellm, locllm, taihri; got 'mimic'"),
        (_set("family", 7), "family: expected text; got 7"),
        (_set("surprise", 1), "surprise: unexpected field"),
        (_set("decoder/surprise", 1), "decoder.surprise: unexpected field"),
        (_drop("decoder/layers"), "decoder.layers: missing"),
        (_set("decoder", []), "decoder: expected an object; got []"),
        (_set("decoder/layers", -1), "decoder.layers: expected 1 to 1024; got -1"),
        (_set("decoder/layers", 2.0), "decoder.layers: expected a whole number; got 2.0"),
        (_set("decoder/max_positions", 10**15), "decoder.max_positions: expected 1 to"),
        (_set("decoder/kv_heads", 3), "decoder.kv_heads: expected a divisor of decoder.heads = 4; got 3"),
        (_set("decoder/kv_heads", 0), "decoder.kv_heads: expected 1 to 1024; got 0"),
        (_set("decoder/head_dim", 3), "decoder.head_dim: expected an even number; got 3"),
        (_set("decoder/rope_theta", 0), "decoder.rope_theta: expected a number above 0; got 0.0"),
        (_set("decoder/rope_theta", 10**400), "decoder.rope_theta: expected a finite number"),
        (_set("crop/std", [1, 0, 1]), "crop.std: expected numbers above 0"),
        (_set("crop/mean", [1, 0]), "crop.mean: expected 3 numbers"),
        (_set("crop/mean", [1, "0", 1]), "crop.mean[1]: expected a finite number; got '0'"),
        (_set("crop/size", 10**9), "crop.size: expected 1 to 8192"),
        (
            _set("precision/name", "int2"),
            "precision.name: expected one of 'fp32', 'fp16', 'int4', 'int4-fp16', 'int8', 'int8-fp16', "
            "'fp32-half', 'int4-half', 'int8-half'",
        ),
        (_set("precision/activations", "float16"), "precision: expected PrecisionSpec(name='int4'"),
        (_set("prompt/prefix", []), "prompt.prefix: expected one image of 4 positions; got []"),
        (_set("prompt/prefix/0", {"tokens": [1], "text": "x"}), "exactly one of tokens, text, image"),
        (_set("prompt/prefix/0", {"tokens": [40]}), "prompt.prefix[0].tokens: expected token ids in [0, 40)"),
        (_set("prompt/prefix/2", {"image": 5}), "prompt.prefix: expected one image of 4 positions; got [5]"),
        (_set("prompt/suffix", "Where?"), "prompt.suffix: expected placeholders"),
        (_set("prompt/suffix", "{name} {__class__}"), "prompt.suffix: expected placeholders"),
        (_set("codec/kind", "hex"), "codec.kind: expected one of 'digit', 'bin'; got 'hex'"),
        (_drop("codec/kind"), "codec.kind: missing"),
        (_set("codec", 3), "codec: expected an object; got 3"),
        (_set("codec/digits", list(range(9))), "codec.digits: expected 10 different ids"),
        (_set("codec/digits", [10] * 10), "codec.digits: expected 10 different ids"),
        (_set("codec/zero", 11), "codec.zero: expected the id of the digit 0; got 11"),
        (_set("codec/open", -1), "codec.open: expected token ids in [0, 40); got [-1]"),
        (_set("codec/places", [3]), "codec.places: expected 2 or 3 counts of 1 to 9; got (3,)"),
        (_set("codec/places", [3, 10**9]), "codec.places: expected 2 or 3 counts of 1 to 9"),
        (_set("codec/answer_tokens", 14), "codec.answer_tokens: expected 13 for these places; got 14"),
        (
            _set("codec/depth_range_mm", 2000.0),
            "codec.depth_range_mm: expected none for 2 places; got 2000.0",
        ),
        (_set_depth(None), "codec.depth_range_mm: expected millimetres above 0 for 3 places; got None"),
        (_set_depth(0), "codec.depth_range_mm: expected millimetres above 0 for 3 places; got 0.0"),
        (_set_depth("2 m"), "codec.depth_range_mm: expected a finite number; got '2 m'"),
        (_set("answer_head", []), "answer_head: expected ascending token ids, at least one"),
        (_set("answer_head", [*range(10, 20), 19]), "answer_head: expected ascending token ids"),
        (_set("answer_head", [*range(10, 20), 40]), "answer_head: expected token ids in [0, 40); got [40]"),
        (
            _set("answer_head", [*range(11, 20)]),
            "all ids in it that the codec lets a model choose; got 'missing [10]'",
        ),
        (_set("keypoints/default", "hands21"), "keypoints.default: expected one of coco17, mpii16, h36m17"),
        (_drop("keypoints/texts/nose"), "keypoints.texts: expected a text for each keypoint of coco17"),
        (_set("keypoints/texts/na\nme", {"description": "x"}), "expected a usable name"),
        (
            _set("keypoints/texts/nose", {"description": ""}),
            "keypoints.texts.nose: expected a usable name and",
        ),
        (_drop("files/goldens.npz"), "files.goldens.npz: missing"),
        (_set("files/goldens.npz/sha256", "0" * 63), "files.goldens.npz.sha256: expected 64 lower-case hex"),
        (_set("files/goldens.npz/bytes", -1), "files.goldens.npz.bytes: expected a size; got -1"),
        (_set("files/goldens.npz/bytes", 10**12), "goldens.npz: expected 1000000000000 bytes; got"),
    ],
)
def test_manifest_that_makes_no_sense(make_bundle: MakeBundle, change: Change, message: str) -> None:
    with pytest.raises(BundleError, match=re.escape(message)) as caught:
        Bundle.open(make_bundle(change))
    assert "run `edgepose export` again" in str(caught.value)
    assert isinstance(caught.value, (EdgePoseError, ValueError))


def test_every_problem_is_listed_at_once(make_bundle: MakeBundle) -> None:
    def change(m: dict[str, Any]) -> None:
        del m["decoder"]["layers"]
        m["crop"]["size"] = "28"
        m["extra"] = 1

    root = make_bundle(change)
    (root / "connector.onnx").unlink()
    with pytest.raises(BundleError) as caught:
        Bundle.open(root)
    for part in (
        "decoder.layers: missing",
        "crop.size: expected a whole",
        "extra: unexpected",
        "connector.onnx:",
    ):
        assert part in str(caught.value)


def test_precisions_are_consistent(manifest_json: dict[str, Any]) -> None:
    manifest_json["files"] = {}
    for precision in PRECISIONS.values():
        value = copy.deepcopy(manifest_json)
        value["precision"] = dataclasses.asdict(precision)
        with pytest.raises(BundleError) as caught:  # the files are missing, but nothing else is wrong
            Manifest.from_json(value)
        assert "precision" not in str(caught.value)


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgepose.bundle; heavy = ('torch', 'onnx', 'transformers', 'tensorrt', 'onnxruntime'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
