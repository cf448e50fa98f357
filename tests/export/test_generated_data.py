# SPDX-License-Identifier: Apache-2.0
"""tests/data is what tests/generate_data.py writes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

TESTS = Path(__file__).resolve().parents[1]
STORED = TESTS / "data"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the recipe writes today."""
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location("generate_data", TESTS / "generate_data.py")
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS))  # as for the script
        folder = tmp_path_factory.mktemp("data")
        recipe.generate(folder)
        yield folder


def load(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_answers_to_bundles_of_old_formats_stay(fresh: Path) -> None:
    old, new = (load(folder / "answers_v1.json") for folder in (STORED, fresh))
    assert new["token_ids"] == old["token_ids"]
    np.testing.assert_allclose(new["confidence"], old["confidence"], atol=1e-4)
    assert not (fresh / "bundle_v1").exists()


def test_the_recipe_still_gives_the_stored_data(fresh: Path) -> None:
    assert load(fresh / "answers_v2.json") == load(STORED / "answers_v2.json")

    old, new = (load(folder / "bundle_v2" / "bundle.json") for folder in (STORED, fresh))
    for name in old:
        if name not in ("provenance", "parity", "files", "created_by"):
            assert new[name] == old[name], name
    assert set(new["files"]) == set(old["files"])
    table = "bundle_v2/embeddings.npy"
    np.testing.assert_array_equal(np.load(fresh / table), np.load(STORED / table))


def test_the_stored_data_is_small() -> None:
    assert sum(file.stat().st_size for file in (STORED / "bundle_v2").iterdir()) < 900_000
