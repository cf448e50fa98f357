# SPDX-License-Identifier: Apache-2.0
"""Recipes: how to build engines for one target, as small TOML files that inherit from each other.

What shapes follow from a bundle and a recipe does not belong here: see `edgepose.engines.profiles`.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgepose.bundle import GRAPHS
from edgepose.errors import InvalidInputError
from edgepose.records import read_record, write_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["BuildOptions", "BundleWishes", "Recipe", "Shapes", "Target", "load_recipe", "recipe_names"]

_FOLDER = Path(__file__).parent / "recipes"
_BASE = "base"


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that engines are built for."""

    runtime: Literal["tensorrt", "tensorrt_rtx"]
    compute_capability: str | None = None
    """`8.7`; None for that of the GPU at hand."""
    memory_gib: float | None = None
    """GiB that engines and caches may take there; None for what is free on the machine at hand."""


@dataclass(frozen=True, slots=True)
class BundleWishes:
    """What a bundle must be."""

    precisions: tuple[str, ...]
    """Names of precisions, the recommended first; empty for any."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What the bundle cannot say about lengths and batches."""

    images: int
    """Most person crops in one run of the vision encoder."""
    extra_tokens: int
    """Room for questions longer than those of the bundle, tokens."""
    questions: int | None = None
    """Most questions in one batch, of which more take several; None for as many as the bundle's default
    keypoint set has."""
    image_tokens: int | None = None
    """Most positions of a frame's image; None for what the bundle allows."""
    answer_tokens: int | None = None
    """Longest answer in exact decoding; None for what the bundle allows."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How the compiler works."""

    optimization: int
    """TensorRT's builder optimisation level, 0 to 5."""
    order: tuple[str, ...]
    """Graphs in the order in which they are built; the largest first, so that what fails does so early."""
    workspace_mib: int | None = None
    """Most scratch memory of one layer, MiB; None for no limit."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe with everything it inherits."""

    name: str
    target: Target
    bundle: BundleWishes
    shapes: Shapes
    build: BuildOptions

    def numbers(self) -> dict[str, Any]:
        """Everything but the name, as JSON."""
        written: dict[str, Any] = write_value(self)
        del written["name"]
        return written


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(file.stem for file in _FOLDER.glob("*.toml") if file.stem != _BASE)


def load_recipe(name: str | os.PathLike[str]) -> Recipe:
    """Read a recipe with all that it inherits from.

    Args:
        name: of a recipe that ships with the package, or the path of a TOML file, whose `inherits` may name
            either.

    Raises:
        InvalidInputError: there is no such recipe, or it says something that is not understood; the message
            lists every problem.
    """
    file = _find(os.fspath(name), Path.cwd())
    table = _inherited(file, ())
    problems: list[str] = []
    table["name"] = file.stem
    recipe = read_record(Recipe, table, "", problems)
    if recipe is not None:
        problems += _sense_problems(recipe)
    if recipe is None or problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise InvalidInputError(
            f"[recipe {file}] expected a recipe as docs/engines.md describes; got:{listed}\nmend the file, "
            f"or name one of {', '.join(recipe_names())}"
        )
    return recipe


def _find(name: str, beside: Path) -> Path:
    shipped = _FOLDER / f"{name}.toml"
    if re.fullmatch(r"[\w-]+", name) and shipped.is_file():
        return shipped
    file = beside / name
    if file.suffix == ".toml" and file.is_file():
        return file
    raise InvalidInputError(
        f"[recipe] expected one of {', '.join(recipe_names())}, or a .toml file; got {name!r}; "
        "`edgepose build --help` lists the recipes"
    )


def _inherited(file: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """The file's table laid over those that it inherits from."""
    if file in below:
        chain = " -> ".join(path.stem for path in (*below, file))
        raise InvalidInputError(f"[recipe {file}] expected recipes that end; got {chain}; break the circle")
    try:
        table: dict[str, Any] = tomllib.loads(file.read_bytes().decode("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"[recipe {file}] expected a TOML file in UTF-8; got: {error}; mend the file"
        ) from error
    base = table.pop("inherits", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise InvalidInputError(
            f"[recipe {file}] expected inherits to be a name; got {base!r}; name one recipe"
        )
    return _overlaid(_inherited(_find(base, file.parent), (*below, file)), table)


def _overlaid(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict)
        result[key] = _overlaid(under[key], value) if both else value
    return result


def _sense_problems(recipe: Recipe) -> list[str]:
    """What is wrong with a recipe whose fields all have the right type."""
    problems = []

    def expect(holds: bool, where: str, expected: str, got: object) -> None:
        if not holds:
            problems.append(f"{where}: expected {expected}; got {got!r}")

    target, shapes, build = recipe.target, recipe.shapes, recipe.build
    capability = target.compute_capability
    expect(
        capability is None or re.fullmatch(r"\d{1,2}\.\d", capability) is not None,
        "target.compute_capability",
        "a number like 8.7, in quotes",
        capability,
    )
    expect(
        target.memory_gib is None or target.memory_gib > 0,
        "target.memory_gib",
        "more than 0",
        target.memory_gib,
    )
    for field in ("images", "questions", "image_tokens", "answer_tokens"):
        count = getattr(shapes, field)
        expect(count is None or count >= 1, f"shapes.{field}", "a count of at least 1", count)
    expect(shapes.extra_tokens >= 0, "shapes.extra_tokens", "a count from 0", shapes.extra_tokens)
    expect(0 <= build.optimization <= 5, "build.optimization", "0 to 5", build.optimization)
    expect(
        sorted(build.order) == sorted(GRAPHS), "build.order", f"each of {', '.join(GRAPHS)} once", build.order
    )
    workspace = build.workspace_mib
    expect(workspace is None or workspace >= 1, "build.workspace_mib", "at least 1", workspace)
    return problems
