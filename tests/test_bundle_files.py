# SPDX-License-Identifier: Apache-2.0
"""Files of bundles that are missing, damaged, hostile or of the wrong kind: each is refused by its name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepose.bundle_files
from edgepose.bundle import Bundle, describe_files
from edgepose.errors import BundleError

MakeBundle = Callable[..., Path]


def test_large_files_are_hashed_on_request_only(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_bundle()
    data = root / "llm_decoder.onnx.data"
    data.write_bytes(data.read_bytes()[::-1])  # same size, other content
    with pytest.raises(BundleError, match=r"llm_decoder.onnx.data: expected SHA-256 .*changed since export"):
        Bundle.open(root)
    monkeypatch.setattr(edgepose.bundle_files, "_HASHED_ON_OPEN", 200)
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
    root = make_bundle()
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
