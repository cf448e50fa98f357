# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepose.engine_check import Device, Platform
from edgepose.engines.timing_cache import TimingCache
from edgepose.errors import EngineMismatchError, InvalidInputError

from ..boards import ORIN


class FakeCache:
    def __init__(self, data: bytes) -> None:
        self.entries = set(filter(None, data.split(b",")))

    def combine(self, other: FakeCache, ignore: bool) -> bool:
        self.entries |= other.entries
        return True

    def serialize(self) -> bytes:
        return b",".join(sorted(self.entries))


class FakeConfig:
    """What of a vendor's options the cache touches."""

    def __init__(self) -> None:
        self.cache: FakeCache | None = None

    def create_timing_cache(self, data: bytes) -> FakeCache:
        return FakeCache(data)

    def set_timing_cache(self, cache: FakeCache, ignore: bool) -> None:
        assert ignore is False
        self.cache = cache

    def get_timing_cache(self) -> FakeCache | None:
        return self.cache


def measure(path: Path, *entries: bytes, platform: Platform = ORIN) -> FakeConfig:
    cache, config = TimingCache(path, platform), FakeConfig()
    cache.attach(config)
    assert config.cache is not None
    config.cache.entries |= set(entries)
    cache.collect(config)
    return config


def test_measurements_add_up(tmp_path: Path) -> None:
    file = tmp_path / "orin.cache"
    measure(file, b"a")
    measure(file, b"b")
    config = FakeConfig()
    TimingCache(file, ORIN).attach(config)
    assert config.cache is not None and config.cache.entries == {b"a", b"b"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["orin.cache", "orin.cache.lock"]


def _measure_many(path: Path, name: str) -> None:
    for number in range(20):
        measure(path, f"{name}{number}".encode())


def test_builds_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "orin.cache"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_measure_many, args=(file, name)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    config = FakeConfig()
    TimingCache(file, ORIN).attach(config)
    assert config.cache is not None and len(config.cache.entries) == 60


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"device": Device("NVIDIA RTX A4000", 48, 16 << 30), "compute_capability": "8.6"}, "got Orin"),
        ({"runtime_version": "10.16.1"}, "version: expected 10.16.1 (this machine); got 10.3.0"),
        ({"driver": "R39.0"}, "driver: expected R39.0 (this machine); got R36.4.3"),
        ({"runtime": "tensorrt_rtx"}, "runtime: expected tensorrt_rtx"),
    ],
)
def test_cache_of_another_machine(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    file = tmp_path / "orin.cache"
    measure(file, b"a")
    before = file.read_bytes()
    with pytest.raises(EngineMismatchError) as caught:
        TimingCache(file, replace(ORIN, **other))
    assert said in str(caught.value) and "stays as it is" in str(caught.value)
    assert file.read_bytes() == before


def test_every_difference_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "orin.cache"
    measure(file, b"a")
    with pytest.raises(EngineMismatchError) as caught:
        TimingCache(file, replace(ORIN, runtime_version="10.16.1", driver="R39.0"))
    assert "version" in str(caught.value) and "driver" in str(caught.value)


def test_damaged_or_foreign_file(tmp_path: Path) -> None:
    file = tmp_path / "orin.cache"
    measure(file, b"abc", b"def")
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(InvalidInputError, match="truncated or changed"):
        TimingCache(file, ORIN)
    file.write_bytes(b"\x00\x01 what trtexec writes")
    with pytest.raises(InvalidInputError, match="begins otherwise"):
        TimingCache(file, ORIN)
    with pytest.raises(InvalidInputError, match="directory that exists"):
        TimingCache(tmp_path / "nowhere" / "x", ORIN)
