# SPDX-License-Identifier: Apache-2.0
"""The whole training of taihri-nano, in small: all stages, resumed, with the package's renderer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from edgepose.training.nano import load_nano  # noqa: E402
from edgepose.training.recipes import TrainingRequest  # noqa: E402
from edgepose.training.reinforcement import reinforcement_task  # noqa: E402
from edgepose.training.taihri import recipe  # noqa: E402
from edgepose.training.taihri.checkpoint import open_model  # noqa: E402
from edgepose.training.taihri.sources import FrameSource, first_checkpoint, pose_libraries  # noqa: E402
from edgepose.training.taihri.supervised import supervised_task  # noqa: E402


def small_description() -> dict[str, Any]:
    described = load_nano("taihri-nano")
    described["size"] |= {
        "vision_hidden": 32,
        "vision_layers": 1,
        "vision_heads": 2,
        "vision_intermediate": 32,
    }
    described["size"] |= {"taps": [0], "table_side": 6, "hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1}
    described["size"] |= {"head_dim": 16, "intermediate": 32}
    described["scenes"] |= {"size": [192, 160], "focal": [180.0, 220.0], "usual_focal": 200.0, "chunk": 4}
    described["chunks"] = {"training": 3, "validation": 1}
    for stage in described["stages"]:
        stage["options"] |= {"frames": 4, "answered": min(2, stage["options"].get("answered", 0))}
        if stage["task"] == "reinforcement":
            stage["options"] = {"questions": 2, "answers": 2}
        stage["schedule"] |= {"steps": 2}
    return described


def test_stages_of_the_description_fit_their_tasks(tmp_path: Path) -> None:
    described = load_nano("taihri-nano")
    assert sum(stage["share"] for stage in described["stages"]) == pytest.approx(1)
    start = first_checkpoint(tmp_path, described)
    for stage in described["stages"]:
        make = {"supervised": supervised_task, "reinforcement": reinforcement_task}[stage["task"]]
        task = make(stage["name"], start, stage["options"], lambda count, generator: None, [])
        assert task.name == stage["name"]
    parameters = sum(p.numel() for p in open_model(start)[0].parameters())
    assert 10e6 < parameters < 15e6


def test_all_stages_run_and_are_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "load_nano", lambda name: small_description())
    opened = FrameSource.open
    monkeypatch.setattr(FrameSource, "open", lambda *a, **k: opened(*a, **{**k, "ahead": False}))
    seen: list[str] = []
    request = TrainingRequest(model="taihri-nano", out=tmp_path / "out", minutes=5.0)
    finished = recipe.train_nano(
        request, progress=lambda stage, done, total: seen.append(stage.split(":")[0])
    )
    assert finished == tmp_path / "out" / "checkpoint"
    assert list(dict.fromkeys(seen)) == ["encoder", "windows", "frames", "reinforcement"]
    model, language = open_model(finished)
    assert language.view.canonical_focal == 250.0
    rows = (tmp_path / "out" / "frames" / "log.jsonl").read_text().splitlines()
    assert "mpjpe_upper_body" in json.loads(rows[-1])["evaluation"]
    again = recipe.train_nano(request)
    for name, value in open_model(again)[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_unseen_people_are_not_trained_on(shared_data: Path) -> None:
    learnt, unseen = pose_libraries(shared_data / "mocap" / "cmu_poses.npz")
    generator = torch.Generator().manual_seed(0)
    assert learnt.sample(generator, 3).shape == unseen.sample(generator, 3).shape == (3, 22, 3)
