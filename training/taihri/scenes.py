# SPDX-License-Identifier: Apache-2.0
"""Which frames are rendered for training and validation, and the process that renders them ahead.

Rendering itself is in `edgepose.training.rendering`.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from edgepose.bundle import BinCodecSpec, FrameSpec
from edgepose.training.taihri.frames import Frames, Rendered, seen_frames
from edgepose.training.taihri.store import FrameStore

__all__ = ["RenderFrames", "Scenes", "fill_store", "fill_store_ahead"]


class RenderFrames(Protocol):
    """`edgepose.training.rendering.render_frames`, or something that takes its place."""

    def __call__(
        self,
        seed: int,
        count: int,
        *,
        width: int,
        height: int,
        focal: tuple[float, float],
        distance: tuple[float, float],
        poses: Any,
        device: str,
    ) -> Rendered: ...


@dataclass(frozen=True, slots=True)
class Scenes:
    """What cameras see; every chunk of frames has one camera, drawn by its number."""

    seed: int = 0
    size: tuple[int, int] = (640, 480)
    """Width and height of the camera's images, pixels."""
    focal: tuple[float, float] = (450.0, 900.0)
    """Least and largest focal length of these images, pixels."""
    usual_focal: float = 600.0
    """Focal length of half of all chunks."""
    distance: tuple[float, float] = (0.4, 2.5)
    """Metres from the camera to the person."""
    true_share: float = 0.1
    """Share of chunks that are rendered at the camera's size and scaled as at run time; the others are
    rendered at the canonical focal length, which is as good and quicker."""
    chunk: int = 32
    """Frames of one chunk."""

    def render(
        self,
        number: int,
        view: FrameSpec,
        codec: BinCodecSpec,
        *,
        poses: Any,
        render: RenderFrames,
        device: str = "cpu",
    ) -> Frames:
        """The frames of one chunk; the same number gives the same frames.

        Args:
            number: Of the chunk.
            view: How the model sees.
            codec: What it answers.
            poses: Library of poses, for the renderer.
            render: The renderer.
            device: Where to render.
        """
        random = np.random.default_rng([self.seed, number])
        low, high = map(math.log, self.focal)
        focal = math.exp(random.uniform(low, high)) if random.random() < 0.5 else self.usual_focal
        scale = 1.0 if random.random() < self.true_share else view.canonical_focal / focal
        width, height = (int(side * scale) for side in self.size)
        focal = round(focal, 2) if scale == 1.0 else view.canonical_focal
        rendered = render(
            int(random.integers(1 << 31)),
            self.chunk,
            width=width,
            height=height,
            focal=(focal, focal),
            distance=self.distance,
            poses=poses,
            device=device,
        )
        return seen_frames(rendered, view, codec)


def fill_store(
    folder: Path,
    chunks: int,
    scenes: Scenes,
    view: FrameSpec,
    codec: BinCodecSpec,
    *,
    poses: Any,
    render: RenderFrames | None = None,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> FrameStore:
    """Renders the chunks that a store lacks.

    Args:
        folder: Of the store.
        chunks: How many it is to have, numbered from 0.
        scenes: What to render.
        view: How the model sees.
        codec: What it answers.
        poses: Library of poses, for the renderer.
        render: The renderer; default: the package's.
        device: Where to render.
        progress: Called after each chunk with the stage, chunks done and chunks in all.
    """
    store = FrameStore(folder)
    made = set(store.numbers)
    for number in range(chunks):
        if number not in made:
            renderer = render or _package_renderer()
            store.add(number, scenes.render(number, view, codec, poses=poses, render=renderer, device=device))
        if progress is not None:
            progress("rendering", number + 1, chunks)
    store.refresh()
    return store


def fill_store_ahead(
    folder: Path, chunks: int, scenes: Scenes, view: FrameSpec, codec: BinCodecSpec, *, poses: Any
) -> Any:
    """Starts a process of low priority that fills a store while others read it; it ends with this one.

    Returns:
        The process.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=_fill_quietly, args=(folder, chunks, scenes, view, codec, poses), daemon=True
    )
    process.start()
    return process


def _fill_quietly(
    folder: Path, chunks: int, scenes: Scenes, view: FrameSpec, codec: BinCodecSpec, poses: Any
) -> None:
    os.nice(10)
    torch.set_num_threads(1)
    fill_store(folder, chunks, scenes, view, codec, poses=poses)


def _package_renderer() -> RenderFrames:
    from edgepose.training.rendering import render_frames

    renderer: RenderFrames = render_frames
    return renderer
