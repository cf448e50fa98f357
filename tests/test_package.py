# SPDX-License-Identifier: Apache-2.0
"""What the installed distribution says about itself and what it carries, editable or wheel.

What a wheel must hold file by file is checked where one is built: `tools/check_wheel.py`.
"""

from __future__ import annotations

import importlib.resources
import re
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import edgepose


def requirements(extra: str | None = None) -> set[str]:
    """Names of what the distribution requires, lower case, in the base install or under an extra."""
    lines = metadata.requires("edgepose") or []
    marker = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
    wanted = [line for line in lines if (found := marker.search(line)) is None and extra is None]
    wanted += [line for line in lines if (found := marker.search(line)) and found[1] == extra]
    names = (re.match(r"[\w.-]+", line) for line in wanted)
    return {name[0].lower().replace("_", "-") for name in names if name}


def test_version_is_written_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([ab]\d+|rc\d+|\.dev\d+)?", edgepose.__version__)
    assert metadata.version("edgepose") == edgepose.__version__


def test_metadata() -> None:
    about = metadata.metadata("edgepose")
    assert about["Requires-Python"] == ">=3.10"
    assert "Apache-2.0" in (about.get("License-Expression") or about["License"])
    assert {"export"} <= set(about.get_all("Provides-Extra") or ())


def test_base_install_is_light() -> None:
    assert requirements() == {
        "numpy",
        "onnxruntime",
        "tokenizers",
        "opencv-python-headless",
        "pillow",
        "click",
    }


def test_export_extra_brings_the_heavy_libraries() -> None:
    assert {"torch", "onnx", "safetensors", "sentencepiece"} <= requirements("export")
    assert requirements("export").isdisjoint(requirements())


def test_types_are_published() -> None:
    package = importlib.resources.files("edgepose")
    assert package.joinpath("py.typed").is_file()
    assert package.joinpath("_core.pyi").is_file() or package.joinpath("_core", "__init__.pyi").is_file()


def test_export_is_inside_the_package() -> None:
    # Found, not imported: the base install has no PyTorch.
    spec = find_spec("edgepose.export")
    assert spec is not None and spec.submodule_search_locations
    assert Path(next(iter(spec.submodule_search_locations)), "py.typed").is_file()


def test_extension_is_inside_the_package() -> None:
    spec = find_spec("edgepose._core")
    assert spec is not None and spec.origin is not None
    assert Path(spec.origin).suffix in (".so", ".pyd")


def test_photo_for_the_demo_is_included() -> None:
    photo = importlib.resources.files("edgepose").joinpath("assets", "person.jpg").read_bytes()
    assert photo[:3] == b"\xff\xd8\xff"


def test_command_is_installed() -> None:
    command = shutil.which("edgepose", path=str(Path(sys.executable).parent))
    assert command is not None
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert edgepose.__version__ in shown.stdout
