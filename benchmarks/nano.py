# SPDX-License-Identifier: Apache-2.0
"""How well the compact models localise, at each precision and in both ways of decoding, and how fast.

    python benchmarks/nano.py --work DIR --mocap FILE [--photos DIR] [--models NAME,NAME]
                              [--steps accuracy,time] [--limit N]

The checkpoints are those of the repository. The rendered sets are drawn into DIR (three seeds, for the
spread; the recorded poses are those of subject 03, whom no training sees), photographs 9001 to 10000 of Leeds
Sports Pose are in the directory that `--photos` names. Times are those of the first person or frame, all ways
in turn. Models and steps that are left out keep their figures in the result file.
"""

from __future__ import annotations

import argparse
import functools
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import harness

from edgepose import Localizer
from edgepose.evaluation import Dataset, Evaluation, evaluate, open_dataset
from edgepose.examples import ImageExamples
from edgepose.localizer import DecodeMode

CHECKPOINTS = Path(__file__).parents[1] / "training" / "checkpoints"
FAMILIES = {"posellm-nano": "posellm", "taihri-nano": "taihri"}
PICTURES = 200
"""Rendered pictures of each set."""
SEEDS = (0, 1, 2)
"""Of the rendered sets; calibration and all details are those of the first."""
SUBJECT = "03"
"""Kept out of training."""
CALIBRATION = range(8001, 8033)
"""Photographs, counted from 1, on which INT8 measures ranges."""
Way = tuple[str, DecodeMode, int | None]
_WAYS: tuple[Way, ...] = (
    ("fp32", "constrained", None),
    ("fp32", "exact", 300),
    ("int4-half", "constrained", 300),
    ("fp16", "constrained", 100),
)
WAYS: Mapping[str, tuple[Way, ...]] = {
    "posellm-nano": (*_WAYS, ("int8-half", "constrained", 300)),
    "taihri-nano": _WAYS,
}
"""Precision and way of decoding of each row, and how many answers it is worth; float16 is slow on CPUs."""
_SPREAD = frozenset({"AP", "mean OKS", "PCK@0.2", "G-MPJPE"})
"""Figures that are kept of every seed."""
HANDSHAKE = {
    "left_arm": "Please shake my left hand",
    "right_arm": "Please shake my right hand",
    "upper_body": "Hold me by the shoulders",
    "lower_body": "Lift me up by my legs",
}
"""What the free form is asked, by the part of the body that the words are about."""


def rendered(work: Path, form: str, mocap: Path, seed: int = SEEDS[0]) -> Path:
    """Annotations of a rendered set, drawn where they are missing."""
    from edgepose.training import rendering

    folder = work / f"{form}_{PICTURES}_{seed}"
    if not (folder / "annotations.json").exists():
        poses = rendering.PoseLibrary.for_evaluation(mocap, [SUBJECT], None)
        write: Callable[..., Path] = rendering.write_coco if form == "coco" else rendering.write_frames
        write(
            folder,
            seed=rendering.evaluation_seed(seed),
            count=PICTURES,
            poses=poses,
            progress=harness.show_progress,
        )
    return folder / "annotations.json"


def sets(
    model: str, work: Path, mocap: Path, photos: Path | None, seed: int = SEEDS[0]
) -> Iterator[tuple[str, Dataset]]:
    """What a model is measured on, by name; the photographs come with the first seed alone."""
    if FAMILIES[model] == "posellm":
        people = rendered(work, "coco", mocap, seed)
        yield "rendered", open_dataset("rendered", people, people.parent / "images")
        if photos is not None and seed == SEEDS[0]:
            joints, images = photos / "joints.npy", photos / "images.zip"
            yield "photographs", open_dataset("lsp", joints, images, numbers=(9001, 10000))
        return
    frames = rendered(work, "frames", mocap, seed)
    yield "asked", open_dataset("rendered", frames, frames.parent / "images", parts=["upper_body"])
    for part, words in HANDSHAKE.items():
        dataset = open_dataset(
            "rendered", frames, frames.parent / "images", parts=[part], commands={part: words}
        )
        yield f"free, {part}", dataset


def accuracy(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """All precisions and ways of decoding of one model."""
    found: dict[str, Any] = {**harness.conditions(options.threads), "rows": {}}
    for precision, decode, most in WAYS[model]:
        path = bundle(model, precision, options.work, options.photos)
        localizer = Localizer(path, threads=options.threads, decode=decode)
        rows: dict[str, Any] = {}
        for seed in SEEDS:
            for name, dataset in sets(model, options.work, options.mocap, options.photos, seed):
                print(f"{model} {precision} {decode} {name} {seed}", file=sys.stderr)
                limit = min((each for each in (most, options.limit) if each is not None), default=None)
                one = figures(evaluate(localizer, dataset, limit=limit, progress=harness.show_progress))
                row = rows.setdefault(name, {**one, "of each seed": {}})
                for figure in _SPREAD & one.keys():
                    row["of each seed"].setdefault(figure, []).append(one[figure])
        found["rows"][f"{precision}, {decode}"] = rows
    return found


@functools.cache
def bundle(model: str, precision: str, work: Path, photos: Path | None) -> Path:
    """The checkpoint as a bundle of a precision."""
    from edgepose.export import export_bundle

    out = work / f"{model}-{precision}"
    examples = None
    if precision.startswith("int8"):
        if photos is None:
            raise SystemExit(f"{precision} measures ranges on photographs: name them with --photos")
        examples = calibration(work, photos)
    export_bundle(
        family=FAMILIES[model],
        checkpoint=CHECKPOINTS / model,
        out=out,
        precision=precision,
        calibration=examples,
        force=True,
    )
    return out


def calibration(work: Path, photos: Path, most: int = 32) -> ImageExamples:
    """The photographs that ranges are measured on, unpacked where they are not yet."""
    folder = work / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(photos / "images.zip") as archive:
        names = sorted(archive.namelist())
        for number in CALIBRATION:
            target = folder / Path(names[number - 1]).name
            if not target.exists():
                target.write_bytes(archive.read(names[number - 1]))
    return ImageExamples([folder], most=most)


def seconds(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time of one answer in all ways, in turn: what the first sample of the first set asks."""
    _, dataset = next(sets(model, options.work, options.mocap, None))
    sample = dataset.samples[0]
    image = dataset.images.load(sample.image)
    asked: dict[str, Any] = {"keypoints": list(sample.keypoints)}
    asked.update({"camera": sample.camera} if sample.camera is not None else {"boxes": [sample.box]})
    sides = {}
    for precision, decode, _ in WAYS[model]:
        path = bundle(model, precision, options.work, options.photos)
        localizer = Localizer(path, threads=options.threads, decode=decode)
        sides[f"{precision}, {decode}"] = functools.partial(localizer.locate, image, **asked)
    taken = harness.paired(sides, runs=20)
    return {
        **harness.conditions(options.threads),
        "picture": [image.shape[1], image.shape[0]],
        "keypoints": len(sample.keypoints),
        "rows": {way: harness.spread(times) for way, times in taken.items()},
    }


def figures(found: Evaluation) -> dict[str, Any]:
    """Metrics and calibration of one evaluation."""
    values: Mapping[str, Any] = found.to_json()
    return {
        "people": values["samples"],
        **values["metrics"],
        "calibration": values["calibration"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--mocap", required=True, type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument(
        "--models", default=",".join(name for name in FAMILIES if (CHECKPOINTS / name).is_dir())
    )
    parser.add_argument("--steps", default="accuracy,time")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    result = harness.read("nano")
    result["what"] = "accuracy and time of the compact models"
    result["machine"] = harness.machine(options.threads, "pycocotools")
    models = result.setdefault("models", {})
    for model in options.models.split(","):
        figures_of = models.setdefault(model, {})
        for step in options.steps.split(","):
            figures_of[step] = {"accuracy": accuracy, "time": seconds}[step](model, options)
            print(harness.write("nano", result))


if __name__ == "__main__":
    main()
