# SPDX-License-Identifier: Apache-2.0
"""`edgepose render`: sets of rendered people with exact joints, to evaluate and to look at."""

from __future__ import annotations

import click

from edgepose.cli.failures import missing_extra
from edgepose.cli.progress import ProgressLine

__all__ = ["render"]


@click.command(short_help="Render people with exact joints: pictures and annotations.")
@click.argument("form", type=click.Choice(["coco", "frames", "clip", "sheet"]))
@click.option("--out", required=True, type=click.Path(), help="Folder to make; of a sheet, the PNG to write.")
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, help="Pictures.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of the evaluation set; no training draws the same people.",
)
@click.option("--mocap", type=click.Path(), help="Motion capture file (.npz) to take poses from.")
@click.option("--subjects", metavar="NAME,NAME", help="People of the motion capture file; default: all.")
@click.option("--recording", metavar="NAME", help="Recording of the motion capture file that a clip shows.")
@click.option(
    "--priors",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of poses within joint limits beside recorded ones. Default: 0 with --mocap, else 1.",
)
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True, help="Of a clip."
)
@click.option(
    "--size", nargs=2, type=click.IntRange(min=16), default=(640, 480), metavar="W H", help="Of frames."
)
@click.option(
    "--distance",
    nargs=2,
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="NEAR FAR",
    help="Of people in frames and clips, metres. Default: 0.4 2.5 for frames, 1.2 2.5 for clips.",
)
def render(
    form: str,
    out: str,
    count: int,
    seed: int,
    mocap: str | None,
    subjects: str | None,
    recording: str | None,
    priors: float | None,
    fps: float,
    size: tuple[int, int],
    distance: tuple[float, float] | None,
) -> None:
    """Write rendered people.

    coco: whole pictures with one to three people, annotations as COCO's. frames: close-range frames with
    metric joints and camera. clip: one moving person, frame by frame. sheet: one PNG with crops to look at.
    """
    try:
        from edgepose.training import rendering
    except ImportError as error:
        raise missing_extra(error, "train") from error

    if recording is not None and mocap is None:
        raise click.UsageError("--recording needs --mocap, the file it is in")
    names = None if subjects is None else [name.strip() for name in subjects.split(",")]
    poses = rendering.PoseLibrary.for_evaluation(mocap, names, priors)
    drawn = rendering.evaluation_seed(seed)
    width, height = size
    with ProgressLine() as progress:
        if form == "coco":
            path = rendering.write_coco(out, seed=drawn, count=count, poses=poses, progress=progress)
        elif form == "frames":
            path = rendering.write_frames(
                out,
                seed=drawn,
                count=count,
                poses=poses,
                width=width,
                height=height,
                distance=distance or (0.4, 2.5),
                progress=progress,
            )
        elif form == "clip":
            moving: rendering.PoseLibrary | rendering.Motion = poses
            if mocap is not None and recording is not None:
                moving = rendering.motion_from_mocap(mocap, recording, count, fps)
            path = rendering.write_clip(
                out,
                seed=drawn,
                frames=count,
                fps=fps,
                poses=moving,
                width=width,
                height=height,
                distance=distance or (1.2, 2.5),
                progress=progress,
            )
        else:
            crops = rendering.render_crops(drawn, count, poses=poses)
            path = rendering.contact_sheet(crops.images, 8, out, crops.joints)
    click.echo(f"wrote {path}")
