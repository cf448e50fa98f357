# SPDX-License-Identifier: Apache-2.0
"""What INT8 and INT4 cost and save: answers of posellm-nano against those in float32, and time.

    python benchmarks/precisions.py --work DIR --mocap FILE --photos DIR [--people 200] [--threads 1]
                                    [--steps accuracy,wide] [--smoothing 0.7]

`accuracy` takes the people of `benchmarks/nano.py` (rendered with seed 0; photographs from 9001 on of Leeds
Sports Pose), the first ones of each, and times one of them in all precisions in turn. INT8 is calibrated on
32 photographs of the same data, numbers 8001 to 8032. `wide` times a decoder of random weights whose matrices
are 2048 and 5504 wide, four layers of them; its answers mean nothing. A step that is left out keeps its
figures.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
import nano
import numpy as np

from edgepose import Localizer
from edgepose.evaluation import Evaluation, evaluate

MODEL = "posellm-nano"
PRECISIONS = ("fp32", "int8", "int4")
REFERENCE = PRECISIONS[0]
NEAR = 0.01
"""Of the crop's side: answers that differ by less count as the same place."""
RUNS = 30


def export(family: str, checkpoint: Path, precision: str, options: argparse.Namespace) -> tuple[Path, Any]:
    """A checkpoint as a bundle of a precision, and the export's report."""
    from edgepose.export import export_bundle

    out = options.work / f"{checkpoint.name}-{precision}"
    examples = nano.calibration(options.work, options.photos) if precision == "int8" else None
    report = export_bundle(
        family=family,
        checkpoint=checkpoint,
        out=out,
        precision=precision,
        calibration=examples,
        smoothing=options.smoothing,
        force=True,
    )
    return out, report


def accuracy(options: argparse.Namespace) -> dict[str, Any]:
    """Metrics of each precision, and how far its answers are from those in float32."""
    found: dict[str, Any] = {**harness.conditions(options.threads), "rows": {}}
    localizers = {}
    references: dict[str, Evaluation] = {}
    for precision in PRECISIONS:
        bundle, report = export("posellm", nano.CHECKPOINTS / MODEL, precision, options)
        localizers[precision] = Localizer(bundle, threads=options.threads)
        row: dict[str, Any] = {
            "decoder_mb": _decoder_mb(report),
            "kept_whole": len(report.kept_whole),
            "sets": {},
        }
        for name, dataset in nano.sets(MODEL, options.work, options.mocap, options.photos):
            print(f"{precision} {name}", file=sys.stderr)
            answered = evaluate(localizers[precision], dataset, limit=options.people)
            reference = references.setdefault(name, answered)
            row["sets"][name] = {**nano.figures(answered), "from_float32": distances(answered, reference)}
        found["rows"][precision] = row
    _, dataset = next(nano.sets(MODEL, options.work, options.mocap, None))
    sample = dataset.samples[0]
    image = dataset.images.load(sample.image)
    asked: dict[str, Any] = {"keypoints": list(sample.keypoints), "boxes": [sample.box]}
    add_times(found["rows"], localizers, image, asked)
    return found


def wide(options: argparse.Namespace) -> dict[str, Any]:
    """Time of wide matrices, and what their export takes."""
    from edgepose.export.random_checkpoint import SIZES, write_random_checkpoint

    checkpoint = options.work / "wide"
    write_random_checkpoint(checkpoint, family="posellm", size=SIZES["wide"], dtype="float32")
    found: dict[str, Any] = {**harness.conditions(options.threads), "rows": {}}
    localizers = {}
    for precision in PRECISIONS:
        bundle, report = export("posellm", checkpoint, precision, options)
        localizers[precision] = Localizer(bundle, threads=options.threads)
        found["rows"][precision] = {
            "decoder_mb": _decoder_mb(report),
            "export_seconds": round(report.seconds, 1),
            "kept_whole": len(report.kept_whole),
            "quantization_error": report.parity["llm_decoder"].get("quantization_error", 0.0),
        }
    person = Path(sys.modules["edgepose"].__file__ or "").parent / "assets" / "person.jpg"
    box = json.loads(person.with_suffix(".json").read_text(encoding="utf-8"))["box"]
    add_times(found["rows"], localizers, person, {"boxes": [box]}, runs=10)
    shutil.rmtree(checkpoint)
    return found


def distances(found: Evaluation, reference: Evaluation) -> dict[str, float]:
    """Between the answers of two precisions about the same joints, as shares of the crop's side."""
    apart = []
    for sample, ours, theirs in zip(found.samples, found.answers, reference.answers, strict=True):
        box = sample.box
        side = max(box[2:]) if isinstance(box, tuple) else getattr(box, "side", float("nan"))
        apart.append(np.linalg.norm(ours.xy - theirs.xy, axis=1) / side)
    joined = np.concatenate(apart)
    return {
        "mean": round(float(joined.mean()), 5),
        "median": round(float(np.median(joined)), 5),
        "share_near": round(float(np.mean(joined < NEAR)), 4),
        "joints": len(joined),
    }


def add_times(
    rows: dict[str, Any],
    localizers: Mapping[str, Localizer],
    image: Any,
    asked: dict[str, Any],
    runs: int = RUNS,
) -> None:
    """Time of one answer in all precisions, in turn; that of the decoder's passes within it; and ratios."""
    decoder: dict[str, list[float]] = {name: [] for name in localizers}

    def answer(name: str) -> None:
        timings = localizers[name].locate(image, **asked).timings_ms
        decoder[name].append(sum(timings[part] for part in ("prefix", "suffix", "decode")) / 1000)

    taken = harness.paired(
        {name: functools.partial(answer, name) for name in localizers}, runs=runs, progress=False
    )
    for name, times in taken.items():
        inside = decoder[name][1:]  # the first one is the warm-up
        rows[name]["seconds"] = harness.spread(times)
        rows[name]["decoder_seconds"] = harness.spread(inside)
        rows[name]["times_faster"] = harness.ratios(taken[REFERENCE], times)
        rows[name]["decoder_times_faster"] = harness.ratios(decoder[REFERENCE][1:], inside)


def _decoder_mb(report: Any) -> float:
    return round(float(report.files["llm_decoder.onnx.data"]) / 1e6, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--mocap", required=True, type=Path)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--steps", default="accuracy,wide")
    parser.add_argument("--smoothing", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    result = harness.read("precisions")
    result["what"] = "answers and time of INT8 and INT4 against float32"
    result["machine"] = harness.machine(options.threads)
    result["settings"] = {
        "people": options.people,
        "smoothing": options.smoothing,
        "calibration": len(nano.CALIBRATION),
    }
    for step in options.steps.split(","):
        result[step] = {"accuracy": accuracy, "wide": wide}[step](options)
        print(harness.write("precisions", result))


if __name__ == "__main__":
    main()
