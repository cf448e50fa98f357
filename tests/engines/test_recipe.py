# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgepose.bundle import GRAPHS
from edgepose.engines.recipe import load_recipe, recipe_names
from edgepose.errors import InvalidInputError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "engines.md"


def test_shipped_recipes() -> None:
    assert recipe_names() == ["orin-agx-64gb", "orin-nano-8gb", "orin-nx-16gb", "orin-nx-8gb", "rtx-ci"]
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name and sorted(recipe.build.order) == sorted(GRAPHS)
        orin = name.startswith("orin")
        assert recipe.target.runtime == ("tensorrt" if orin else "tensorrt_rtx")
        assert recipe.target.compute_capability == ("8.7" if orin else "8.6")
    memory = {name: load_recipe(name).target.memory_gib for name in recipe_names() if "orin" in name}
    for name, budget in memory.items():
        size = int(re.findall(r"(\d+)gb", name)[0])
        assert budget is not None and 0.75 * size < budget * 2**30 / 1e9 < 1.08 * size


def test_docs_say_what_recipes_say() -> None:
    rows = [
        [cell.strip(" `") for cell in line.strip("|\n").split("|")]
        for line in DOCS.read_text(encoding="utf-8").partition("## Recipes")[2].splitlines()
        if line.startswith(("| `orin", "| `rtx"))
    ]
    stated = {row[0]: row[2:] for row in rows}
    assert sorted(stated) == recipe_names()
    for name, cells in stated.items():
        recipe = load_recipe(name)
        memory, workspace = recipe.target.memory_gib, recipe.build.workspace_mib
        assert cells == [
            recipe.target.runtime,
            recipe.target.compute_capability,
            ", ".join(recipe.bundle.precisions) or "any",
            "what is free" if memory is None else f"{memory:g} GiB",
            "no limit" if workspace is None else f"{workspace} MiB",
            "all" if recipe.shapes.image_tokens is None else str(recipe.shapes.image_tokens),
        ]


def test_own_recipe_inherits(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text('inherits = "rtx-ci"\n[shapes]\nquestions = 3\n')
    own = tmp_path / "mine.toml"
    own.write_text('inherits = "lab.toml"\n[target]\ncompute_capability = "8.9"\n')
    recipe, base = load_recipe(own), load_recipe("rtx-ci")
    assert (recipe.name, recipe.shapes.questions, recipe.target.compute_capability) == ("mine", 3, "8.9")
    assert recipe.build == base.build and recipe.target.runtime == base.target.runtime
    assert recipe.numbers()["shapes"]["questions"] == 3 and "name" not in recipe.numbers()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('inherits = "base"\n[target]\ncompute_capability = 8.7\n', "target.compute_capability"),
        ('inherits = "base"\n[target]\ncompute_capability = "orin"\n', "a number like 8.7"),
        ('inherits = "base"\n[target]\nruntime = "tensorflow"\n', "target.runtime"),
        ('inherits = "base"\n[build]\noptimisation = 3\n', "build.optimisation: unexpected field"),
        ('inherits = "base"\n[build]\noptimization = 9\nworkspace_mib = 0\n', "build.workspace_mib"),
        ('inherits = "base"\n[build]\norder = ["lm_head"]\n', "build.order: expected each of"),
        ('inherits = "base"\n[shapes]\nquestions = 0\n', "shapes.questions: expected a count of at least 1"),
        ('inherits = "mine.toml"\n', "mine -> mine"),
        ('inherits = "nowhere"\n', "got 'nowhere'"),
        ("inherits = 3\n", "expected inherits to be a name"),
        ("[target]\n", "shapes: missing"),
        ("no toml", "expected a TOML file"),
    ],
)
def test_bad_recipe(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        load_recipe(own)
    assert said in str(caught.value)


def test_every_problem_is_listed(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text('inherits = "base"\n[shapes]\nimages = 0\n[build]\noptimization = 9\n')
    with pytest.raises(InvalidInputError) as caught:
        load_recipe(own)
    assert "shapes.images" in str(caught.value) and "build.optimization" in str(caught.value)


def test_unknown_name() -> None:
    with pytest.raises(InvalidInputError, match="expected one of orin-agx-64gb"):
        load_recipe("xavier")
