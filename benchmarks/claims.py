# SPDX-License-Identifier: Apache-2.0
"""What two papers claim, in miniature: each side trained from several seeds, everything else equal.

    python benchmarks/claims.py --work DIR --mocap FILE [--photos DIR] [--claims connector,reinforcement]
                                [--seeds 3] [--steps 250] [--tuning-steps 25] [--limit N]

`connector`: an MLP against one linear layer between encoder and decoder (PoseLLM, arXiv 2507.09139). Both
begin with the encoder of the repository's posellm-nano and with a new connector and decoder, and are trained
the same number of steps on the same crops. `reinforcement`: taihri-nano of the repository against the same
after reinforcement fine-tuning, and after as many steps more of supervised training (TAIHRI, arXiv
2604.08921). Both are measured through bundles and `edgepose.evaluation` on sets that no training sees. Runs
that are in DIR already are not trained again.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import harness
import nano as nano_benchmark

from edgepose import Localizer
from edgepose.evaluation import evaluate

_SIDES = {"MLP": 256, "linear": None}
"""Width between the layers of the connector; None for one layer."""


def connector(options: argparse.Namespace) -> dict[str, Any]:
    """AP, OKS and PCK of both connectors, one value a seed."""
    from edgepose.training.nano import load_nano
    from edgepose.training.posellm.recipe import train_described
    from edgepose.training.recipes import TrainingRequest

    described = load_nano("posellm-nano")
    stage = next(stage for stage in described["stages"] if stage["task"] == "answers")
    schedule = {**stage["schedule"], "seconds": None, "steps": options.steps, "cooldown": 0.4}
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in range(options.seeds):
        for side, hidden in _SIDES.items():
            one = copy.deepcopy(described)
            one["connector_hidden"] = hidden
            one["stages"] = [{**stage, "name": "answers", "share": 1.0, "schedule": schedule}]
            out = options.work / f"connector-{side}-{options.steps}-{seed}"
            if not (out / "checkpoint" / "config.json").exists():
                request = TrainingRequest(
                    model="posellm-nano",
                    out=out,
                    minutes=1.0,
                    photographs=options.photos,
                    mocap=options.mocap,
                    start=_with_encoder(one, stage["size"], out / "start", seed),
                    work=options.cache or options.work / "cache",
                    seed=seed,
                )
                train_described(one, request, progress=harness.show_progress)
            family = "posellm" if hidden else "locllm"
            found = _measured("posellm-nano", family, out / "checkpoint", out / "bundle", options)
            _note(rows, side, _keypoint_figures(found))
    return {
        **harness.conditions(options.threads),
        "steps": options.steps,
        "limit": options.limit,
        "rows": rows,
    }


def reinforcement(options: argparse.Namespace) -> dict[str, Any]:
    """Global MPJPE, millimetres, before and after; one value a seed."""
    from edgepose.training.loop import CHECKPOINT, Schedule, Task, train
    from edgepose.training.nano import load_nano
    from edgepose.training.reinforcement import reinforcement_task
    from edgepose.training.taihri.sources import FrameSource
    from edgepose.training.taihri.supervised import supervised_task

    described = load_nano("taihri-nano")
    start = nano_benchmark.CHECKPOINTS / "taihri-nano"
    source = FrameSource.open(
        options.cache or options.work / "cache", described, start, mocap=options.mocap, chunks=options.chunks
    )
    stages = {stage["task"]: stage for stage in described["stages"]}
    makers: dict[str, Callable[..., Task]] = {
        "reinforcement": reinforcement_task,
        "supervised": supervised_task,
    }
    names = {"reinforcement": "SFT + RFT", "supervised": "SFT, as many steps more"}
    rows: dict[str, dict[str, list[float]]] = {}
    found = _measured("taihri-nano", "taihri", start, options.work / "start-bundle", options)
    _note(rows, "SFT", _metric_figures(found))
    for seed in range(options.seeds):
        for task, side in names.items():
            stage, out = stages[task], options.work / f"{task}-{options.tuning_steps}-{seed}"
            rate = stages["reinforcement"]["schedule"]["learning_rate"]
            schedule = Schedule(steps=options.tuning_steps, seed=seed, learning_rate=rate, evaluate_every=1.0)
            lesson = makers[task](side, start, stage["options"], source.draw, source.validation)
            train(lesson, out, schedule, progress=harness.show_progress)
            found = _measured("taihri-nano", "taihri", out / CHECKPOINT, out / "bundle", options)
            _note(rows, side, _metric_figures(found))
    return {
        **harness.conditions(options.threads),
        "steps": options.tuning_steps,
        "limit": options.limit,
        "rows": rows,
    }


def _with_encoder(described: Mapping[str, Any], size: int, folder: Path, seed: int) -> Path:
    """A checkpoint of new weights but for the encoder, which is the repository's."""
    from safetensors.torch import load_file

    from edgepose.export.models import PoseModel
    from edgepose.training.posellm.checkpoint import save_checkpoint
    from edgepose.training.posellm.model import initialise, nano_config, resize_positions
    from edgepose.training.posellm.vocabulary import write_tokenizer

    model = PoseModel(
        nano_config(described, write_tokenizer(folder, vocabulary=described["vocabulary"]), size=size)
    )
    initialise(model, seed)
    stored = load_file(nano_benchmark.CHECKPOINTS / "posellm-nano" / "model.safetensors")
    own = model.vision.state_dict()
    for name in own:
        value = stored[f"vision_model.{name.replace('patch_embed.', 'patch_embed.proj.')}"].float()
        if name == "pos_embed":
            value = resize_positions(value, model.config.vision.grid)
        own[name] = value
    model.vision.load_state_dict(own)
    return save_checkpoint(model, folder)


def _measured(
    model: str, family: str, checkpoint: Path, bundle: Path, options: argparse.Namespace
) -> dict[str, Mapping[str, Any]]:
    """Figures of a checkpoint on the sets of a model, by the name of the set."""
    from edgepose.export import export_bundle

    export_bundle(family=family, checkpoint=checkpoint, out=bundle, precision="fp32", force=True)
    localizer = Localizer(bundle, threads=options.threads)
    return {
        name: nano_benchmark.figures(
            evaluate(localizer, dataset, limit=options.limit, progress=harness.show_progress)
        )
        for name, dataset in nano_benchmark.sets(model, options.sets, options.mocap, options.photos)
    }


def _keypoint_figures(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    figures = {name: found["rendered"][name] for name in ("AP", "mean OKS")}
    if "photographs" in found:
        figures["photographs PCK@0.2"] = found["photographs"]["PCK@0.2"]
    return figures


def _metric_figures(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    free = [row["G-MPJPE"] for name, row in found.items() if name.startswith("free")]
    known = [value for value in free if value is not None]
    return {"asked": found["asked"]["G-MPJPE"], "free": statistics.fmean(known) if known else float("nan")}


def _note(rows: dict[str, dict[str, list[float]]], side: str, figures: Mapping[str, float]) -> None:
    print(side, {name: round(value, 4) for name, value in figures.items()}, file=sys.stderr)
    for name, value in figures.items():
        rows.setdefault(side, {}).setdefault(name, []).append(value)


CLAIMS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "connector": connector,
    "reinforcement": reinforcement,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", required=True, type=Path, help="trainings and their bundles")
    parser.add_argument("--sets", type=Path, help="rendered sets to measure on; default: WORK")
    parser.add_argument("--cache", type=Path, help="pictures to train on; default: WORK/cache")
    parser.add_argument("--mocap", required=True, type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--claims", default="connector,reinforcement")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=250, help="of each connector")
    parser.add_argument("--tuning-steps", type=int, default=25, help="of each fine-tuning")
    parser.add_argument(
        "--chunks", type=int, help="of rendered frames to fine-tune on; default: as described"
    )
    parser.add_argument("--limit", type=int, help="people or frames of each set")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.sets = options.sets or options.work
    result = harness.read("claims")
    result["what"] = "claims of the papers in miniature, one value a seed"
    result["machine"] = harness.machine(options.threads, "pycocotools")
    for claim in options.claims.split(","):
        result[claim] = CLAIMS[claim](options)
        print(harness.write("claims", result))


if __name__ == "__main__":
    main()
