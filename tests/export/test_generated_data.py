# SPDX-License-Identifier: Apache-2.0
"""tests/data is what tests/generate_data.py writes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

TESTS = Path(__file__).resolve().parents[1]


def test_the_recipe_still_gives_the_stored_data(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_data", TESTS / "generate_data.py")
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    recipe.generate(tmp_path)

    stored, fresh = TESTS / "data", tmp_path
    old = json.loads((stored / "answers_v1.json").read_text(encoding="utf-8"))
    new = json.loads((fresh / "answers_v1.json").read_text(encoding="utf-8"))
    assert new["token_ids"] == old["token_ids"]
    np.testing.assert_allclose(new["confidence"], old["confidence"], atol=1e-4)

    old = json.loads((stored / "bundle_v1" / "bundle.json").read_text(encoding="utf-8"))
    new = json.loads((fresh / "bundle_v1" / "bundle.json").read_text(encoding="utf-8"))
    for name in old:
        if name not in ("provenance", "parity", "files", "created_by"):
            assert new[name] == old[name], name
    assert set(new["files"]) == set(old["files"])
    table = "bundle_v1/embeddings.npy"
    np.testing.assert_array_equal(np.load(fresh / table), np.load(stored / table))
