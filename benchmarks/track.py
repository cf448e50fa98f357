# SPDX-License-Identifier: Apache-2.0
"""`track` against `locate` on every frame of a clip, same bundle, same boxes, frame by frame in turn.

    python benchmarks/track.py --bundle BUNDLE --clip FOLDER [--name NAME] [--command TEXT]
                               [--decode constrained,exact] [--frames N] [--runs 3] [--threads 2]

The clip is a folder as `edgepose render` writes it: images and an annotations.json, which says where the
person is in the first frame and what the camera's focal length is. From then on the boxes are those that
`track` carries on, and `locate` is given the same. Both sides start from pixels in memory and end with poses.
A name that is left out keeps the figures it has in the result file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np
from numpy.typing import NDArray

STAGES = ("preprocess", "vision", "prefix", "suffix", "decode", "total")


@dataclass(frozen=True)
class Clip:
    """Frames in memory, and what is known of the first."""

    frames: list[NDArray[np.uint8]]
    box: tuple[float, ...]
    camera: Any
    """For bundles that answer in metres."""


def read_clip(folder: Path, limit: int | None) -> Clip:
    """Frames and annotations of a rendered clip."""
    from edgepose import Camera
    from edgepose.images import load_image

    described = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    images = described["images"][:limit]
    first = images[0]
    found = next(item for item in described["annotations"] if item["image_id"] == first["id"])
    files = [folder / image["file_name"] for image in images]
    files = [file if file.exists() else folder / "images" / file.name for file in files]
    numbers = (first[name] for name in ("fx", "fy", "cx", "cy", "width", "height"))
    return Clip([load_image(file) for file in files], tuple(found["bbox"]), Camera(*numbers))


def measure(
    bundle: Path, clip: Clip, decode: Any, *, command: str | None, runs: int, threads: int
) -> dict[str, Any]:
    """Both sides on the whole clip, `runs` times after one to warm up."""
    from edgepose import Localizer
    from edgepose.results import Drafts, Passes

    # Each side has its own graphs, so that neither profits from what the other has bound.
    tracker, locator = (Localizer(bundle, decode=decode, threads=threads) for _ in range(2))
    crops = tracker.bundle.manifest.crop is not None
    options: dict[str, Any] = {} if crops else {"camera": clip.camera}
    sides: dict[str, list[Any]] = {"track": [], "locate": []}
    equal = total = 0
    for run in range(runs + 1):
        track = tracker.track(clip.frames, boxes=[clip.box] if crops else None, command=command, **options)
        for number, frame in enumerate(clip.frames):
            print(
                f"\r  run {run}/{runs} frame {number}/{len(clip.frames)} ",
                end="",
                file=sys.stderr,
                flush=True,
            )
            tracked = next(track)
            if command is not None:
                located = locator.ask(frame, command, **options)
            else:
                boxes = [pose.box for pose in tracked] if crops else None
                located = locator.locate(frame, boxes=boxes, **options)
            if run == 0:
                continue
            sides["track"].append(tracked)
            sides["locate"].append(located)
            equal += sum(a == b for a, b in zip(_tokens(tracked), _tokens(located), strict=True))
            total += len(_tokens(located))
    print("\r" + " " * 48 + "\r", end="", file=sys.stderr)

    drafts = sum((one.drafts for one in sides["track"]), Drafts())
    seconds = {side: [one.timings_ms["total"] / 1000 for one in calls] for side, calls in sides.items()}
    result: dict[str, Any] = {
        "frames": len(clip.frames),
        "runs": runs,
        "answers_equal": round(equal / total, 6),
        "drafts": {
            "accepted_of_free": round(drafts.accepted / drafts.free, 4),
            "accepted_of_offered": round(drafts.accepted / max(1, drafts.offered), 4),
        },
        "still_frames": round(
            statistics.mean(one.passes.decode == 0 for one in sides["track"]), 4
        ),  # without a decode pass
        "times_faster": harness.ratios(seconds["locate"], seconds["track"]),
    }
    for side, calls in sides.items():
        passes = sum((one.passes for one in calls), Passes())
        result[side] = {
            "seconds": harness.spread(seconds[side]),
            "passes_a_frame": {
                name: round(count / len(calls), 2) for name, count in passes.to_json().items()
            },
            "stages_ms": {
                stage: round(statistics.median(one.timings_ms[stage] for one in calls), 2) for stage in STAGES
            },
        }
    return result


def _tokens(poses: Any) -> list[Any]:
    return [said.token_ids for pose in poses for said in (pose, *pose) if said.token_ids]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True, help="folder with images and annotations.json")
    parser.add_argument("--name", help="of the figures in the result file; default: the bundle's")
    parser.add_argument("--command", help="ask this, where the bundle takes commands")
    parser.add_argument("--decode", default="constrained,exact")
    parser.add_argument("--frames", type=int, help="the first N only")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="track", help="name of the result file")
    options = parser.parse_args(argv)
    result = harness.read(options.out)
    result["what"] = "one frame of a rendered clip: track against locate, same bundle, same boxes"
    result["machine"] = harness.machine(options.threads)
    name = options.name or options.bundle.resolve().name
    clip = read_clip(options.clip, options.frames)
    measured = {
        decode: measure(
            options.bundle,
            clip,
            decode,
            command=options.command,
            runs=options.runs,
            threads=options.threads,
        )
        for decode in options.decode.split(",")
    }
    result.setdefault("clips", {})[name] = {
        **harness.conditions(options.threads),
        "clip": options.clip.resolve().name,
        "asked": options.command or "keypoints by name",
        **measured,
    }
    print(harness.write(options.out, result))


if __name__ == "__main__":
    main()
