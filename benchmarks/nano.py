# SPDX-License-Identifier: Apache-2.0
"""How well the compact models localise, at each precision and in both ways of decoding, and how fast.

    python benchmarks/nano.py --work DIR --mocap FILE [--photos DIR] [--models NAME,NAME] [--limit N]

The checkpoints are those of the repository. The rendered sets are drawn into DIR (seed 0; the recorded poses
are those of subject 03, whom no training sees), photographs 9001 to 10000 of Leeds Sports Pose are in
the directory that `--photos` names. Models that are left out keep the figures they have in the result file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import harness

from edgepose import Localizer
from edgepose.evaluation import Dataset, Evaluation, evaluate, open_dataset
from edgepose.localizer import DecodeMode

CHECKPOINTS = Path(__file__).parents[1] / "training" / "checkpoints"
FAMILIES = {"posellm-nano": "posellm", "taihri-nano": "taihri"}
PICTURES = 200
"""Rendered pictures of each set."""
SUBJECT = "03"
"""Kept out of training."""
WAYS: tuple[tuple[str, DecodeMode], ...] = (
    ("fp32", "constrained"),
    ("fp32", "exact"),
    ("fp32-half", "constrained"),
    ("int4-half", "constrained"),
    ("fp16", "constrained"),
)
"""Precision and way of decoding of each row."""
HANDSHAKE = {
    "left_arm": "Please shake my left hand",
    "right_arm": "Please shake my right hand",
    "upper_body": "Hold me by the shoulders",
    "lower_body": "Lift me up by my legs",
}
"""What the free form is asked, by the part of the body that the words are about."""


def rendered(work: Path, form: str, mocap: Path) -> Path:
    """Annotations of a rendered set, drawn where they are missing."""
    from edgepose.training import rendering

    folder = work / f"{form}_{PICTURES}"
    if not (folder / "annotations.json").exists():
        poses = rendering.PoseLibrary.for_evaluation(mocap, [SUBJECT], None)
        write: Callable[..., Path] = rendering.write_coco if form == "coco" else rendering.write_frames
        write(folder, seed=rendering.evaluation_seed(0), count=PICTURES, poses=poses, progress=_show)
    return folder / "annotations.json"


def sets(model: str, work: Path, mocap: Path, photos: Path | None) -> Iterator[tuple[str, Dataset]]:
    """What a model is measured on, by name."""
    if FAMILIES[model] == "posellm":
        people = rendered(work, "coco", mocap)
        yield "rendered", open_dataset("rendered", people, people.parent / "images")
        if photos is not None:
            joints, images = photos / "joints.npy", photos / "images.zip"
            yield "photographs", open_dataset("lsp", joints, images, numbers=(9001, 10000))
        return
    frames = rendered(work, "frames", mocap)
    yield "asked", open_dataset("rendered", frames, frames.parent / "images", parts=["upper_body"])
    for part, words in HANDSHAKE.items():
        dataset = open_dataset(
            "rendered", frames, frames.parent / "images", parts=[part], commands={part: words}
        )
        yield f"free, {part}", dataset


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """All precisions and ways of decoding of one model."""
    found: dict[str, Any] = {**harness.conditions(options.threads), "rows": {}}
    for precision, decode in WAYS:
        localizer = Localizer(bundle(model, precision, options.work), threads=options.threads, decode=decode)
        rows = {}
        for name, dataset in sets(model, options.work, options.mocap, options.photos):
            print(f"{model} {precision} {decode} {name}", file=sys.stderr)
            # float16 runs slowly on a CPU; its accuracy needs fewer answers.
            limit = min(options.limit or 100, 100) if precision == "fp16" else options.limit
            rows[name] = figures(evaluate(localizer, dataset, limit=limit, progress=_show))
        found["rows"][f"{precision}, {decode}"] = rows
    return found


def bundle(model: str, precision: str, work: Path) -> Path:
    """The checkpoint as a bundle of a precision."""
    from edgepose.export import export_bundle

    out = work / f"{model}-{precision}"
    export_bundle(
        family=FAMILIES[model],
        checkpoint=CHECKPOINTS / model,
        out=out,
        precision=precision,
        force=True,
    )
    return out


def figures(found: Evaluation) -> dict[str, Any]:
    """Metrics, time and calibration of one evaluation."""
    values: Mapping[str, Any] = found.to_json()
    return {
        "people": values["samples"],
        **values["metrics"],
        "milliseconds": {name: round(ms, 1) for name, ms in found.milliseconds.items()},
        "calibration": values["calibration"],
    }


def _show(stage: str, done: int, total: int) -> None:
    print(f"\r  {stage} {done}/{total}      ", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--mocap", required=True, type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--models", default=",".join(FAMILIES))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    result = harness.read("nano")
    result["what"] = "accuracy and time of the compact models"
    result["machine"] = harness.machine(options.threads, "pycocotools")
    models = result.setdefault("models", {})
    for model in options.models.split(","):
        models[model] = measure(model, options)
        print(harness.write("nano", result))


if __name__ == "__main__":
    main()
