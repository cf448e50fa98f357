# SPDX-License-Identifier: Apache-2.0
"""The sidecar of engines: written, read, refused. No vendor's library is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepose.bundle import Bundle
from edgepose.engine import ENGINE_FORMAT, BundleIdentity, EngineManifest, RecipeIdentity
from edgepose.engine_check import Device, Platform
from edgepose.engine_component import Component, Profile, Tensor, graph_hash
from edgepose.errors import BackendUnavailableError, EngineMismatchError
from edgepose.file_hash import hash_file
from edgepose.tensorrt_library import RuntimeName, load_library

from .boards import ORIN


@pytest.fixture
def engines(tmp_path: Path, make_bundle: Callable[..., Path]) -> tuple[Path, Path, EngineManifest]:
    """Engine directory, bundle and sidecar; the engine holds no engine."""
    bundle = Bundle.open(make_bundle())
    out = tmp_path / "engines"
    out.mkdir()
    (out / "lm_head.engine").write_bytes(b"engine" * 100)
    component = Component(
        file="lm_head.engine",
        sha256=hash_file(out / "lm_head.engine"),
        bytes=600,
        key="0" * 64,
        graph_sha256=graph_hash(bundle.manifest.files, "lm_head"),
        profiles=(Profile("step", {"hidden": ((1, 8), (2, 8), (4, 8))}),),
        tensors=(
            Tensor("hidden", "input", "float16", (-1, 8)),
            Tensor("logits", "output", "float32", (-1, 40)),
        ),
        device_memory=8 << 20,
        seconds=1.5,
    )
    manifest = EngineManifest(
        ENGINE_FORMAT,
        BundleIdentity(hash_file(bundle.path / "bundle.json"), 1, "locllm", "int4", str(bundle.path)),
        RecipeIdentity("orin-agx-64gb", {"build": {"optimization": 3}}),
        {"lm_head": component},
        ORIN,
        "0.1.0",
        "2026-01-01T00:00:00+00:00",
    )
    manifest.write(out)
    return out, bundle.path, manifest


Engines = tuple[Path, Path, EngineManifest]


def test_round_trip(engines: Engines) -> None:
    out, bundle, manifest = engines
    read = EngineManifest.read(out)
    assert read == manifest
    read.check_hashes(out)
    read.check(ORIN, Bundle.open(bundle), directory=out)
    assert [entry.name for entry in sorted(out.iterdir())] == ["engine.json", "lm_head.engine"]


def test_what_is_not_known_is_not_compared(engines: Engines) -> None:
    here = Platform(None, None, None, None, None, None, None, None)
    engines[2].check(here, None)
    engines[2].check(None, None)
    # Neither are the driver and the amount of memory.
    engines[2].check(replace(ORIN, driver="R36.5", cuda="12.8", device=Device("Orin", 16, 32 << 30)), None)


def test_every_differing_field_is_listed(engines: Engines) -> None:
    out, bundle, manifest = engines
    elsewhere = Platform(
        "tensorrt", "10.16.1", "8.6", Device("NVIDIA RTX A4000", 48, 16 << 30), "x", "13.2", "Linux", "x86_64"
    )
    with pytest.raises(EngineMismatchError) as caught:
        manifest.check(elsewhere, None, directory=out)
    text = str(caught.value)
    for line in (
        "got 6 differing fields",
        "runtime_version: expected 10.3.0; got 10.16.1",
        "compute_capability: expected 8.7; got 8.6",
        "cuda (major): expected 12; got 13",
        "arch: expected aarch64; got x86_64",
        "device.name: expected Orin; got NVIDIA RTX A4000",
        "device.multiprocessors: expected 16; got 48",
        f"edgepose build {bundle} --recipe orin-agx-64gb --out {out}",
    ):
        assert line in text, text
    # Boards of one generation differ in their multiprocessors alone.
    with pytest.raises(EngineMismatchError, match="multiprocessors: expected 16; got 8"):
        manifest.check(replace(ORIN, device=Device("Orin", 8, 8 << 30)), None)


def test_another_bundle(engines: Engines, manifest_json: dict[str, Any]) -> None:
    out, path, manifest = engines
    file = path / "bundle.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    value["family"] = "posellm"
    file.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(EngineMismatchError) as caught:
        manifest.check(ORIN, Bundle.open(path), directory=out)
    assert "bundle.family: expected locllm; got posellm" in str(caught.value)
    assert f"bundle.sha256: expected {manifest.bundle.sha256}" in str(caught.value)
    assert "graph_sha256" not in str(caught.value)


def damage_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda out: (out / "lm_head.engine").unlink(),
            "lm_head.engine: expected 600 bytes; got: No such file",
        ),
        (lambda out: (out / "lm_head.engine").write_bytes(b"eng"), "expected 600 bytes; got 3 (truncated)"),
        (lambda out: damage_byte(out / "lm_head.engine"), "(changed since it was built)"),
        (
            lambda out: (out / "engine.json").unlink(),
            "expected a directory with engine.json; got no such file",
        ),
        (
            lambda out: (out / "engine.json").write_bytes(b'{"format"'),
            "expected engine.json to be a JSON object",
        ),
        (lambda out: (out / "engine.json").write_bytes(b"[]"), "no object at the top"),
    ],
)
def test_damaged_directory(engines: Engines, damage: Callable[[Path], object], said: str) -> None:
    out, _, _ = engines
    damage(out)
    with pytest.raises(EngineMismatchError) as caught:
        EngineManifest.read(out)
    assert said in str(caught.value) and "build" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value.update(format=99), "expected engine format 1 or older; got 99"),
        (lambda value: value.pop("platform"), "platform: missing"),
        (lambda value: value["components"]["lm_head"].update(file="../x"), "expected a plain file name"),
        (lambda value: value["platform"].update(runtime="onnxruntime"), "platform.runtime"),
    ],
)
def test_wrong_sidecar(engines: Engines, change: Callable[[dict[str, Any]], object], said: str) -> None:
    out, _, _ = engines
    value = json.loads((out / "engine.json").read_text(encoding="utf-8"))
    change(value)
    (out / "engine.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(EngineMismatchError) as caught:
        EngineManifest.read(out)
    assert said in str(caught.value)


def test_large_engines_are_hashed_on_demand(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _, manifest = engines
    monkeypatch.setattr("edgepose.engine_files.HASHED_ON_OPEN", 100)
    damage_byte(out / "lm_head.engine")
    EngineManifest.read(out)
    with pytest.raises(EngineMismatchError, match="lm_head.engine: expected SHA-256"):
        manifest.check_hashes(out)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("tensorrt", r"apt install python3-libnvinfer.*pip install 'edgepose\[tensorrt\]'"),
        ("tensorrt_rtx", r"pip install 'edgepose\[tensorrt-rtx\]'"),
    ],
)
def test_missing_library(monkeypatch: pytest.MonkeyPatch, name: RuntimeName, advice: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailableError, match=advice):
        load_library.__wrapped__(name)
