# SPDX-License-Identifier: Apache-2.0
"""`edgepose train`: all stages of a tiny recipe, resumed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from edgepose.cli import main  # noqa: E402
from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export.architectures import DINOV2_LLAMA  # noqa: E402
from edgepose.export.checkpoint import open_checkpoint  # noqa: E402
from edgepose.export.weights import ModelWeights  # noqa: E402
from edgepose.training.nano import MODELS, load_nano  # noqa: E402
from edgepose.training.posellm import recipe, rendered  # noqa: E402
from edgepose.training.recipes import RECIPES, TrainingRequest, train_model  # noqa: E402

from .tiny_nano import TINY, dot_pictures  # noqa: E402


@pytest.fixture
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two stages of a few seconds; people are not drawn, dots are."""
    nano = {
        **TINY,
        "parameters": 1_000_000,
        "data": {"photographs": 0.0, "rendered": 1.0, "rendered_crops": 6, "validation": 2},
        "stages": [
            {
                "name": name,
                "task": task,
                "size": size,
                "share": 0.5,
                "options": {"batch": 2},
                "schedule": {"learning_rate": 1e-3, "steps": 3, "log_every": 1, "precision": "float32"},
            }
            for name, task, size in (("small", "places", 28), ("large", "answers", 42))
        ],
    }
    monkeypatch.setattr(recipe, "load_nano", lambda name: nano)

    def drawn(count: int, **options: Any) -> Any:
        assert options["size"] == 42 and options["label"] in ("train_priors", "test_priors")
        return dot_pictures(count)

    monkeypatch.setattr(recipe, "rendered_people", drawn)
    return nano


def test_stages_follow_each_other_and_end_in_a_checkpoint(
    tmp_path: Path, tiny_recipe: dict[str, Any]
) -> None:
    given = ["posellm-nano", "--out", str(tmp_path), "--minutes", "1", "--seed", "2"]
    result = CliRunner().invoke(main, ["train", *given], catch_exceptions=False)
    assert result.output.strip().endswith(f"wrote {tmp_path / 'checkpoint'}")
    weights = ModelWeights(open_checkpoint(tmp_path / "checkpoint"), DINOV2_LLAMA)
    assert weights.config.vision.image_size == 42
    for stage in ("small", "large"):
        rows = [json.loads(line) for line in (tmp_path / stage / "log.jsonl").read_text().splitlines()]
        assert rows[-1]["step"] == 3 and "dots" not in rows[-1]["evaluation"]
        assert any(name.endswith("PCK@0.2") for name in rows[-1]["evaluation"])
    before = (tmp_path / "large" / "state.pt").read_bytes()
    CliRunner().invoke(main, ["train", *given], catch_exceptions=False)
    assert (tmp_path / "large" / "state.pt").read_bytes() == before


def test_every_recipe_is_described() -> None:
    assert set(RECIPES) <= set(MODELS)
    nano = load_nano("posellm-nano")
    assert sum(stage["share"] for stage in nano["stages"]) <= 1
    assert nano["stages"][-1]["size"] == nano["crop_size"]


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="a model out of posellm-nano, taihri-nano; got 'gpt'"):
        train_model(TrainingRequest("gpt", tmp_path, minutes=1))
    with pytest.raises(InvalidInputError, match="more than 0 minutes"):
        train_model(TrainingRequest("posellm-nano", tmp_path, minutes=0))
    with pytest.raises(InvalidInputError, match=r"joints\.npy"):
        train_model(TrainingRequest("posellm-nano", tmp_path, minutes=1, photographs=tmp_path))
    with pytest.raises(InvalidInputError, match="the name of a compact model"):
        load_nano("posellm-huge")


def test_rendered_people_are_kept_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    class Drawn:
        def __init__(self, count: int) -> None:
            self.images = torch.full((count, 16, 16, 3), len(drawn), dtype=torch.uint8)
            self.coco17 = torch.arange(17.0)[None, :, None].expand(count, -1, 3)
            self.mpii16 = 100 + torch.arange(16.0)[None, :, None].expand(count, -1, 3)

    def render(seed: int, count: int, **options: Any) -> Drawn:
        drawn.append(seed)
        return Drawn(count)

    monkeypatch.setattr(rendered, "render_crops", render)
    monkeypatch.setattr(rendered, "_PART", 4)
    poses = rendered.pose_library(None)
    for _ in range(2):
        found = rendered.rendered_people(6, seed=50, size=16, poses=poses, label="x", cache=tmp_path)
        assert drawn == [50, 51]
        assert found.images[:4].max() == 1 and found.images[4:].min() == 2
        # nose is unlabelled here (visibility 0); neck is the ninth of MPII
        assert found.joints[0, 1].tolist() == [1, 1, 1] and found.joints[0, 0, 2] == 0
        assert found.joints[0, 17].tolist() == [108, 108, 1]
        assert np.array_equal(found.sizes, np.full((6, 2), 16))
