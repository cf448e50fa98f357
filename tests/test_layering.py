# SPDX-License-Identifier: Apache-2.0
"""Arrows point one way: Python imports, C++ includes, file names and file headers, read from the sources.

What an import costs when it runs is not measured here: see `test_imports`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
RUNTIME = TREE / "src" / "edgepose"
ENGINES = TREE / "engines"
EXPORT = TREE / "export"
TRAINING = TREE / "training"
CORE = TREE / "cpp"

if not RUNTIME.is_dir():
    pytest.skip("no sources here: these are the tests of an installed wheel", allow_module_level=True)

BASE = {"numpy", "onnxruntime", "tokenizers", "cv2", "PIL", "click"}
"""Import names of the base install's requirements: the runtime may use these and the standard library."""

EXPORT_EXTRA = {
    "torch",
    "jinja2",
    "onnx",
    "onnx_ir",
    "ml_dtypes",
    "google.protobuf",
    "safetensors",
    "sentencepiece",
}
"""Import names of what `edgepose[export]` adds."""

ENGINES_EXTRA = {"onnx", "tomli"}
"""Import names of what `edgepose[engines]` adds; NVIDIA's libraries are loaded by a module of the runtime."""

TRAIN_EXTRA = {"matplotlib"}
"""Import names of what `edgepose[train]` adds to `edgepose[export]`."""

RUNTIME_EXTRAS = {"edgepose.mesh": {"trimesh"}, "edgepose.evaluation": {"pycocotools"}}
"""Import names of what other extras add, by the package whose functions need them."""

RUNTIME_FOR_EXPORT = {
    "answer_layout",
    "bundle",
    "errors",
    "keypoint_wording",
    "keypoints",
    "manifest",
    "progress",
    "records",
    "staged_folder",
}
"""Modules of the runtime that export builds on: the bundle's format, its texts, its place and the errors."""

RUNTIME_FOR_ENGINES = {
    "_core",
    "bundle",
    "engine",
    "engine_check",
    "engine_component",
    "errors",
    "file_hash",
    "keypoints",
    "manifest",
    "progress",
    "prompts",
    "records",
    "staged_folder",
    "tensorrt_library",
}
"""Modules of the runtime that building engines depends on: formats, places, prompts, vendors' libraries."""

LAYERS: tuple[set[str], ...] = (
    {"error", "tensor", "number", "portable", "device_plan"},
    {
        "image_kernels",
        "logits",
        "positions",
        "kv_cache",
        "bin_packing",
        "graphs",
        "decoder_dims",
        "draft",
        "question_rows",
    },
    {"grammar", "answer", "rope", "token_history", "decoder_kernels", "choose_kernel"},
    {"backend", "digit_codec", "bin_codec", "decode_options", "device"},
    {
        "block_codec",
        "host_graphs",
        "answer_progress",
        "host_device",
        "staging",
        "device_graphs",
        "prompt_checks",
    },
    {"host_backend", "decoder", "device_backend"},
    {"device_launches", "device_passes"},
)
"""The C++ core from the bottom up: headers and sources include strictly lower layers only."""

SOURCE_FOLDERS = ("src", "export", "cpp", "tests", "tools", "benchmarks", "engines", "training", ".ci")
TEXT_SUFFIXES = {"", ".py", ".pyi", ".cpp", ".hpp", ".def", ".cu", ".md", ".toml", ".txt", ".json", ".yml"}


# Reading the sources.


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def module_of(path: Path) -> str:
    """Dotted name under which an installed file is imported."""
    root = TREE if any(map(path.is_relative_to, (ENGINES, EXPORT, TRAINING))) else RUNTIME.parent
    parts = path.relative_to(root).with_suffix("").parts
    if root == TREE:
        parts = ("edgepose", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Each module that a file names: (dotted name, line, whether this happens inside a function).

    `from a import b` yields both `a` and `a.b`, since `b` may be a module. Imports by a constant string,
    and those for type checkers only, count like all others.
    """
    installed = any(path.is_relative_to(folder) for folder in (RUNTIME, ENGINES, EXPORT, TRAINING))
    package = module_of(path).split(".") if installed else []
    if path.name != "__init__.py":
        package = package[:-1]

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, inside
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base, node.lineno, inside
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno, inside
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0] if node.args else None
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value), node.lineno, inside
        within = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, within)

    yield from visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)), False)


def top(name: str) -> str:
    return name.partition(".")[0]


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(TREE)}:{line}"


def includes_of(path: Path) -> Iterator[tuple[str, int]]:
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if found := re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', text):
            yield found[1], line


def core_files() -> list[Path]:
    return sorted(path for suffix in ("hpp", "cpp", "def", "cu") for path in CORE.rglob(f"*.{suffix}"))


def source_files() -> list[Path]:
    """Files of the repository that people write, but for data and licences."""
    return sorted(
        path
        for folder in SOURCE_FOLDERS
        for path in (TREE / folder).rglob("*")
        if path.is_file()
        and path.suffix in TEXT_SUFFIXES
        and not any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)
    ) + sorted(path for path in TREE.iterdir() if path.is_file() and path.suffix in TEXT_SUFFIXES)


# Python.


def test_runtime_imports_base_requirements_only() -> None:
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in python_files(RUNTIME)
        for name, line, inside in imports_of(path)
        if top(name) not in {"edgepose", *BASE, *sys.stdlib_module_names}
        and not (
            inside
            and any(
                top(name) in extra and is_in(module_of(path), package)
                for package, extra in RUNTIME_EXTRAS.items()
            )
        )
    ]
    assert wrong == []


def test_runtime_reaches_the_other_packages_only_inside_cli_functions() -> None:
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in python_files(RUNTIME)
        for name, line, inside in imports_of(path)
        if any(is_in(name, f"edgepose.{package}") for package in ("engines", "export", "training"))
        and not (inside and is_in(module_of(path), "edgepose.cli"))
    ]
    assert wrong == []


def test_click_belongs_to_the_cli() -> None:
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in python_files(RUNTIME)
        for name, line, _ in imports_of(path)
        if top(name) == "click" and not is_in(module_of(path), "edgepose.cli")
    ]
    assert wrong == []


def test_export_imports_its_extra_and_the_base_only() -> None:
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in python_files(EXPORT)
        for name, line, _ in imports_of(path)
        if top(name) not in {"edgepose", *BASE, *map(top, EXPORT_EXTRA), *sys.stdlib_module_names}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("folder", "modules"),
    [(EXPORT, RUNTIME_FOR_EXPORT), (ENGINES, RUNTIME_FOR_ENGINES)],
    ids=["export", "engines"],
)
def test_only_some_of_the_runtime_is_built_on(folder: Path, modules: set[str]) -> None:
    allowed = tuple(f"edgepose.{name}" for name in (folder.name, *sorted(modules)))
    wrong = []
    for path in python_files(folder):
        names = {(name, line) for name, line, _ in imports_of(path) if is_in(name, "edgepose")}
        # `from edgepose import errors` names `edgepose` too, on the same line as the module that counts.
        lines = {line for name, line in names if name != "edgepose"}
        wrong += [
            f"{place(path, line)} imports {name}"
            for name, line in sorted(names)
            if not (line in lines if name == "edgepose" else any(is_in(name, module) for module in allowed))
        ]
    assert wrong == []


def test_engines_import_their_extra_and_the_base_only() -> None:
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in python_files(ENGINES)
        for name, line, _ in imports_of(path)
        if top(name) not in {"edgepose", *BASE, *ENGINES_EXTRA, *sys.stdlib_module_names}
    ]
    assert wrong == []


def test_training_imports_its_extra_and_the_base_only() -> None:
    extras = {*map(top, EXPORT_EXTRA), *TRAIN_EXTRA}
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in python_files(TRAINING)
        for name, line, _ in imports_of(path)
        if top(name) not in {"edgepose", *BASE, *extras, *sys.stdlib_module_names}
        or (top(name) == "click" or is_in(name, "edgepose.cli"))
    ]
    assert wrong == []


def test_nothing_imports_a_bare_folder_name() -> None:
    wrong = [
        f"{place(path, line)} imports {name}"
        for folder in SOURCE_FOLDERS
        for path in python_files(TREE / folder)
        for name, line, _ in imports_of(path)
        if top(name) in ("export", "engines", "training", "src")
    ]
    assert wrong == []


# C++.


def test_python_is_known_to_the_bindings_only() -> None:
    wrong = [
        f"{place(path, line)} includes {name}"
        for path in core_files()
        if not path.is_relative_to(CORE / "bindings")
        for name, line in includes_of(path)
        if name.startswith("pybind11") or name == "Python.h"
    ]
    assert wrong == []


def test_every_core_file_has_a_layer() -> None:
    layered = set().union(*LAYERS)
    files = [*(CORE / "include" / "edgepose").glob("*.hpp"), *(CORE / "src").glob("*.cpp")]
    assert {path.stem for path in files} <= layered, "a new header: say in LAYERS what it builds on"
    assert {path.stem for path in files} >= layered, "a header is gone: take it out of LAYERS"


def test_core_includes_point_down() -> None:
    level = {stem: number for number, layer in enumerate(LAYERS) for stem in layer}
    wrong = []
    for path in [*(CORE / "include").rglob("*.hpp"), *(CORE / "src").rglob("*.cpp")]:
        for name, line in includes_of(path):
            own_header = path.suffix == ".cpp" and Path(name).stem == path.stem
            if name.startswith("edgepose/") and name.endswith(".hpp") and not own_header:
                if level.get(Path(name).stem, len(LAYERS)) >= level.get(path.stem, -1):
                    wrong.append(f"{place(path, line)} includes {name}")
    assert wrong == []


def test_core_does_not_reach_into_bindings() -> None:
    wrong = [
        f"{place(path, line)} includes {name}"
        for path in core_files()
        if not path.is_relative_to(CORE / "bindings")
        for name, line in includes_of(path)
        if "bindings" in name or name == "module.hpp"
    ]
    assert wrong == []


# Names and headers.


def test_no_file_is_called_after_nothing() -> None:
    empty = re.compile(r"(^|_)(utils?|common|helpers?|misc)(_|$)")
    assert [str(path.relative_to(TREE)) for path in source_files() if empty.search(path.stem)] == []


def test_every_source_file_names_its_licence_first() -> None:
    spdx = re.compile(r"(#!.*\n)?(#|//) SPDX-License-Identifier: Apache-2\.0\n")
    kinds = {".py", ".pyi", ".cpp", ".hpp", ".def", ".cu"}
    wrong = [
        str(path.relative_to(TREE))
        for path in source_files()
        if (path.suffix in kinds or path.name == "Makefile" or path.read_bytes().startswith(b"#!"))
        and not spdx.match(path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


def test_no_path_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.-])/" + "(work|root|home)/")
    beside = "../" + "shared"
    wrong = []
    for path in source_files():
        text = path.read_text(encoding="utf-8")
        if absolute.search(text):
            wrong.append(f"{path.relative_to(TREE)} has an absolute path: {absolute.search(text)}")
        if beside in text and not path.is_relative_to(TREE / "tests"):
            wrong.append(f"{path.relative_to(TREE)} names {beside}")
    assert wrong == []
