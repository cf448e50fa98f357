# SPDX-License-Identifier: Apache-2.0
"""The workflow files in docs/ci: YAML, steps, shell, and commands that exist with the options they use."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from edgepose.cli import main

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "ci"
FILES = sorted(FOLDER.glob("*.yml"))


def steps_of(file: Path) -> list[dict[str, Any]]:
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def scripts_of(file: Path) -> list[str]:
    return [step["run"] for step in steps_of(file) if "run" in step]


def test_both_runners_have_one() -> None:
    assert [file.stem for file in FILES] == ["engines-orin", "engines-without-gpu"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_layout(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow) - {"concurrency"} == {"name", True, "jobs"}
    for job in workflow["jobs"].values():
        assert {"runs-on", "steps", "timeout-minutes"} <= set(job)
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert set(step) <= {"name", "run", "uses", "with", "env", "if"}, step
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shell(file: Path) -> None:
    for script in scripts_of(file):
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        # Inputs reach the shell as variables only: pasted into a script, they could be commands.
        assert "${{" not in script


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_commands_exist(file: Path) -> None:
    seen = set()
    for script in scripts_of(file):
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words and Path(words[0]).name == "edgepose":
                above = click.Context(main, **main.context_settings)
                command = main.get_command(above, words[1])
                assert command is not None, line
                command.make_context(
                    words[1], words[2:], parent=above
                ).close()  # raises for an unknown option
                seen.add(words[1])
    assert {"build", "inspect"} <= seen
