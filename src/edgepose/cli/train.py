# SPDX-License-Identifier: Apache-2.0
"""`edgepose train`: trains one of the package's own compact models within a budget of minutes."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgepose.cli.failures import missing_extra
from edgepose.cli.progress import ProgressLine

__all__ = ["train"]

_MODELS = ("posellm-nano", "taihri-nano")


@click.command(short_help="Train a compact model.")
@click.argument("model", type=click.Choice(_MODELS))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory to train into.")
@click.option(
    "--minutes",
    required=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Budget of all stages together, on this machine; what earlier runs into the directory took counts.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Directory of annotated photographs (Leeds Sports Pose Extended: images.zip, joints.npy). Default: "
    "rendered people alone. PoseLLM.",
)
@click.option(
    "--mocap",
    type=click.Path(path_type=Path),
    help="File of motion capture (joints, subject; subject 03 is kept for evaluation). Default: poses within "
    "the limits of joints.",
)
@click.option(
    "--start", type=click.Path(path_type=Path), help="Checkpoint to begin with. Default: new weights."
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Directory for decoded and rendered pictures. Default: cache inside --out.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Device of PyTorch: cpu, cuda.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the work. On a CPU that other programs use too, as many as there are cores "
    "are faster than one with as many threads.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Whether to go on where an earlier run into the directory stopped.",
)
def train(
    model: str,
    out: Path,
    minutes: float,
    photos: Path | None,
    mocap: Path | None,
    start: Path | None,
    work: Path | None,
    seed: int,
    device: str,
    processes: int,
    resume: bool,
) -> None:
    """Train MODEL in stages, each with a log, curves and a state it can be resumed from.

    The same command continues a run that was stopped.
    """
    # Threads that spin while they wait slow each other down several times where other programs run too.
    # OpenMP reads this once, when PyTorch loads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from edgepose.training.recipes import TrainingRequest, train_model
    except ImportError as error:
        raise missing_extra(error, "train") from error

    request = TrainingRequest(
        model=model,
        out=out,
        minutes=minutes,
        photographs=photos,
        mocap=mocap,
        start=start,
        work=work,
        seed=seed,
        device=device,
        processes=processes,
        resume=resume,
    )
    try:
        with ProgressLine() as progress:
            finished = train_model(request, progress=progress)
    except ImportError as error:
        raise missing_extra(error, "train") from error
    click.echo(f"wrote {finished}")
