# SPDX-License-Identifier: Apache-2.0
"""Bundles that open, and hostile or damaged ones that must be refused before anything runs."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepose.bundle
from edgepose.bundle import (
    FORMAT_VERSION,
    PRECISIONS,
    Bundle,
    FileSpec,
    Manifest,
    describe_files,
    hash_file,
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


def test_hash_file_reports_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgepose.bundle, "_CHUNK", 4)
    data = b"ten bytes!"
    (tmp_path / "f").write_bytes(data)
    calls: list[tuple[str, int, int]] = []
    digest = hash_file(tmp_path / "f", lambda *call: calls.append(call))
    assert digest == hashlib.sha256(data).hexdigest()
    assert calls == [("hash f", 4, 10), ("hash f", 8, 10), ("hash f", 10, 10)]
    assert describe_files(tmp_path) == {"f": FileSpec(digest, 10)}


def test_large_files_are_hashed_on_request_only(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_bundle()
    data = root / "llm_decoder.onnx.data"
    data.write_bytes(data.read_bytes()[::-1])  # same size, other content
    with pytest.raises(BundleError, match=r"llm_decoder.onnx.data: expected SHA-256 .*changed since export"):
        Bundle.open(root)
    monkeypatch.setattr(edgepose.bundle, "_HASHED_ON_OPEN", 200)
    bundle = Bundle.open(root)  # 256 bytes count as large now
    calls: list[tuple[str, int, int]] = []
    with pytest.raises(BundleError, match="llm_decoder.onnx.data: expected SHA-256"):
        bundle.check_hashes(lambda *call: calls.append(call))
    total = sum(f.bytes for f in bundle.manifest.files.values())
    assert calls[-1] == ("check files", total, total)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    data.write_bytes(data.read_bytes()[::-1])
    bundle.check_hashes()


def test_no_directory_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a bundle directory; got nothing there"):
        Bundle.open(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="got a file"):
        Bundle.open(tmp_path / "file")
    with pytest.raises(BundleError, match="expected a file bundle.json; got none.*edgepose export"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b'"text"',
        b'{"format_version": NaN}',
        b'{"format_version": 1, "format_version": 1}',
        b"[" * 100_000,
        b'{"format_version": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "cut", "utf16", "list", "null", "text", "nan", "repeated", "deep", "huge number"],
)
def test_manifest_that_is_no_json_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match="expected bundle.json to be a JSON object|upgrade"):
        Bundle.open(tmp_path)


def test_manifest_of_absurd_size(tmp_path: Path) -> None:
    with (tmp_path / "bundle.json").open("wb") as stream:
        stream.truncate(1 << 30)  # sparse
    with pytest.raises(BundleError, match="1073741824 bytes, more than"):
        Bundle.open(tmp_path)


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


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "C:secret",
        "bundle.json",
        "a\0b",
        ".hidden",
        "ü",
    ],
)
def test_file_names_cannot_escape(make_bundle: MakeBundle, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    root = make_bundle(_set("files", {name: {"sha256": "0" * 64, "bytes": 1}}) if "/" not in name else None)
    value = json.loads((root / "bundle.json").read_text())
    value["files"][name] = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    (root / "bundle.json").write_text(json.dumps(value))
    with pytest.raises(BundleError, match="expected plain file names inside the bundle; got"):
        Bundle.open(root)


def test_links_out_of_the_bundle_are_refused(make_bundle: MakeBundle, tmp_path: Path) -> None:
    root = make_bundle()
    inside = root / "goldens.npz"
    outside = tmp_path / "elsewhere.npz"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(
        BundleError, match=f"goldens.npz: expected a file inside the bundle; got a link to {outside}"
    ):
        Bundle.open(root)
    inside.unlink()
    outside.rename(root / "kept.npz")
    inside.symlink_to("kept.npz")
    Bundle.open(root)  # a link within the bundle is fine
    inside.unlink()
    inside.symlink_to("goldens.npz")
    with pytest.raises(BundleError, match="goldens.npz: expected a readable file|no such file"):
        Bundle.open(root)


def test_the_bundle_may_itself_be_a_link(make_bundle: MakeBundle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(make_bundle())
    assert Bundle.open(tmp_path / "link").path == tmp_path / "link"


def test_files_that_are_missing_cut_changed_or_special(make_bundle: MakeBundle) -> None:
    root = make_bundle()
    (root / "vision_encoder.onnx").unlink()
    cut = root / "connector.onnx"
    cut.write_bytes(cut.read_bytes()[:5])
    changed = root / "lm_head.onnx"
    changed.write_bytes(changed.read_bytes().upper())
    (root / "goldens.npz").unlink()
    os.mkfifo(root / "goldens.npz")
    (root / "lm_head.onnx.data").write_bytes(b"weights nobody signed for")
    with pytest.raises(BundleError) as caught:
        Bundle.open(root)
    message = str(caught.value)
    assert "got 5 problems" in message
    assert "vision_encoder.onnx: expected 42 bytes; got no such file" in message
    assert "connector.onnx: expected 27 bytes; got 5 (truncated)" in message
    assert "lm_head.onnx: expected SHA-256" in message
    assert "goldens.npz: expected a regular file" in message
    assert "lm_head.onnx.data: expected it to be listed" in message


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


@pytest.mark.parametrize(
    ("table", "got"),
    [
        (np.zeros((39, 8), np.float32), r"\(39, 8\) float32"),
        (np.zeros((40, 8), np.float16), r"\(40, 8\) float16"),
        (np.zeros((40, 8), ">f4"), r"\(40, 8\) >f4"),
        (np.zeros((320,), np.float32), r"\(320,\) float32"),
        (np.zeros((40, 8), np.float32, order="F"), "in another order"),
    ],
)
def test_embeddings_of_the_wrong_kind(make_bundle: MakeBundle, table: np.ndarray[Any, Any], got: str) -> None:
    with pytest.raises(
        BundleError, match=rf"embeddings.npy: expected \(40, 8\) float32 in C order; got .*{got}"
    ):
        Bundle.open(make_bundle(embeddings=table))


def _sign(root: Path) -> None:
    value = json.loads((root / "bundle.json").read_text())
    value["files"] = {n: {"sha256": f.sha256, "bytes": f.bytes} for n, f in describe_files(root).items()}
    (root / "bundle.json").write_text(json.dumps(value))


def test_embeddings_that_are_no_array(make_bundle: MakeBundle) -> None:
    root = make_bundle()
    table = root / "embeddings.npy"
    whole = table.read_bytes()
    pickled = np.array([{"a": 1}], dtype=object)
    for content in (b"", b"garbage", whole[:-4], whole[:20]):
        table.write_bytes(content)
        _sign(root)
        with pytest.raises(BundleError, match="embeddings.npy: expected"):
            Bundle.open(root)
    np.save(table, pickled, allow_pickle=True)
    _sign(root)
    with pytest.raises(BundleError, match="embeddings.npy: expected"):
        Bundle.open(root)
    with table.open("wb") as stream:
        np.savez(stream, a=np.zeros(2))
    _sign(root)
    with pytest.raises(BundleError, match="got an archive"):
        Bundle.open(root)


def test_tokenizer_is_read_late(make_bundle: MakeBundle) -> None:
    from tokenizers import Tokenizer, models

    root = make_bundle()
    bundle = Bundle.open(root)
    with pytest.raises(BundleError, match="expected tokenizer.json to be readable"):
        _ = bundle.tokenizer
    for size, fits in ((40, True), (41, False)):
        vocabulary = {chr(256 + i): i for i in range(size)}
        Tokenizer(models.BPE(vocab=vocabulary, merges=[])).save(str(root / "tokenizer.json"))
        _sign(root)
        bundle = Bundle.open(root)
        if fits:
            assert bundle.tokenizer.get_vocab_size() == 40
            assert bundle.tokenizer is bundle.tokenizer
        else:
            with pytest.raises(BundleError, match="at most 40 tokens.*got 41"):
                _ = bundle.tokenizer


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
