# SPDX-License-Identifier: Apache-2.0
"""`edgepose build` and `edgepose inspect` as they are typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgepose.cli import main
from edgepose.tensorrt_library import Library


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made(
    library: Library, exported: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Result]:
    folder = tmp_path_factory.mktemp("made")
    bundle = Path(shutil.copytree(exported("locllm", "int4-fp16"), folder / "bundle"))
    done = run("build", bundle, "--recipe", "rtx-ci", "--json", folder / "report.json")
    return bundle, folder / "bundle.rtx-ci.engines", done


Made = tuple[Path, Path, Result]


def test_build_prints_and_reports(made: Made) -> None:
    bundle, out, done = made
    assert done.exit_code == 0, done.output
    assert "llm_decoder     built" in done.output and f": {out}" in done.output
    report = json.loads((bundle.parent / "report.json").read_text(encoding="utf-8"))
    assert (report["status"], report["family"], report["precision"]) == ("built", "locllm", "int4-fp16")
    assert report["components"]["llm_decoder"]["bytes"] == (out / "llm_decoder.engine").stat().st_size
    assert set(report["estimates"]) == set(report["components"])


def test_build_again_and_check(made: Made) -> None:
    bundle, _, _ = made
    again = run("build", bundle, "--recipe", "rtx-ci", "--json", "-")
    assert again.exit_code == 0 and json.loads(again.stdout)["status"] == "up to date"
    checked = run("build", bundle, "--recipe", "rtx-ci", "--check")
    assert checked.exit_code == 0 and "nothing was compiled" in checked.output


def test_failures_are_one_error_and_a_report(made: Made, tmp_path: Path) -> None:
    bundle, _, _ = made
    failed = run("build", bundle, "--recipe", "xavier", "--json", tmp_path / "report.json")
    assert failed.exit_code == 1 and failed.stderr.startswith("error: [recipe] expected one of orin-agx-64gb")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["status"] == "failed" and report["error"] == "InvalidInputError"
    assert "Traceback" not in failed.output
    assert run("build", tmp_path / "nothing", "--recipe", "rtx-ci").exit_code == 1
    assert run("build", bundle).exit_code == 2  # no recipe
    assert run("build", bundle, "--recipe", "rtx-ci", "--json", tmp_path / "no" / "r.json").exit_code == 2


def test_inspect(made: Made) -> None:
    bundle, out, _ = made
    shown = run("inspect", out, "--bundle", bundle)
    assert shown.exit_code == 0, shown.output
    for part in ("locllm int4-fp16", "rtx-ci", "compute capability 8.6", "draft    embeddings"):
        assert part in shown.output
    value = json.loads(run("inspect", out, "--json").stdout)
    assert value["engine"]["recipe"]["name"] == "rtx-ci" and value["differences"] == []


def test_inspect_another_bundle(made: Made, exported: Callable[[str, str], Path]) -> None:
    _, out, _ = made
    bundle = exported("posellm", "fp16")
    other = run("inspect", out, "--bundle", bundle)
    assert other.exit_code == 1
    for part in (
        "bundle.family: expected locllm; got posellm",
        "llm_decoder.graph_sha256",
        f"edgepose build {bundle}",
    ):
        assert part in other.output


def test_inspect_elsewhere(made: Made, tmp_path: Path, edit_json: Callable[..., None]) -> None:
    out = tmp_path / "engines"
    shutil.copytree(made[1], out)

    def move(value: dict[str, Any]) -> None:
        value["platform"].update(arch="aarch64", runtime_version="1.0")

    edit_json(out / "engine.json", move)
    shown = run("inspect", out, "--json")
    assert shown.exit_code == 1
    assert {item["field"] for item in json.loads(shown.stdout)["differences"]} == {"runtime_version", "arch"}
    (out / "lm_head.engine").write_bytes(b"")
    broken = run("inspect", out)
    assert broken.exit_code == 1 and "(truncated)" in broken.stderr


def test_inspect_nothing(tmp_path: Path) -> None:
    shown = run("inspect", tmp_path)
    assert shown.exit_code == 1 and "expected a directory with engine.json" in shown.stderr
