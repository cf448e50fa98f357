# SPDX-License-Identifier: Apache-2.0
"""Frames for training the 3-D model: the pixels and the numbers are those of the runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgepose import Camera  # noqa: E402
from edgepose.frame import FocalFrame  # noqa: E402
from edgepose.patches import patchify  # noqa: E402
from edgepose.skeleton import SMPL22  # noqa: E402
from edgepose.training.taihri.frames import Frames, cut_out, mirrored, patches_of, seen_frames  # noqa: E402
from edgepose.training.taihri.language import Language  # noqa: E402
from edgepose.training.taihri.scenes import Scenes, fill_store  # noqa: E402
from edgepose.training.taihri.store import FrameStore  # noqa: E402

from .dot_people import render_dots  # noqa: E402
from .small_taihri import small_taihri  # noqa: E402


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Language:
    return Language.open(small_taihri(tmp_path_factory.mktemp("taihri")))


def frame_of(
    language: Language, width: int, height: int, focal: float, principal: tuple[float, float]
) -> FocalFrame:
    view = language.view
    return FocalFrame(
        (width, height),
        focal,
        principal,
        canonical_focal=view.canonical_focal,
        factor=view.factor,
        min_pixels=view.min_pixels,
        max_pixels=view.max_pixels,
    )


def test_pixels_and_patches_are_the_runtimes(language: Language) -> None:
    rendered = render_dots(0, 2, width=320, height=240, focal=(300.0, 300.0), shift=0.05)
    frames = seen_frames(rendered, language.view, language.codec)
    patches = patches_of(frames.pixels, language.view)
    view = language.view
    for index in range(2):
        x, y = (rendered.principal[index] + 0.5).tolist()
        seen = frame_of(language, 320, 240, 300.0, (x, y)).apply(rendered.images[index].numpy())
        assert np.array_equal(frames.pixels[index].numpy(), seen)
        theirs = patchify(seen, patch_size=view.patch_size, merge=view.merge, mean=view.mean, std=view.std)
        assert np.array_equal(patches[index].numpy(), theirs)


def test_numbers_are_what_a_right_answer_of_the_runtime_says(language: Language) -> None:
    """Back through the runtime's own way from answers to pixels and metres, and through its camera."""
    rendered = render_dots(1, 3, width=320, height=240, focal=(300.0, 300.0), shift=0.05)
    frames = seen_frames(rendered, language.view, language.codec)
    codec = language.codec
    low = np.array([codec.x[0], codec.y[0], codec.z[0]])
    span = np.array([codec.x[1], codec.y[1], codec.z[1]]) - low
    for index in range(3):
        cx, cy = (rendered.principal[index].double() + 0.5).tolist()
        frame = frame_of(language, 320, 240, 300.0, (cx, cy))
        xyz = frame.to_camera(low + frames.xyz[index].numpy() * span)
        np.testing.assert_allclose(xyz, rendered.xyz[index].numpy(), atol=1e-5)
        xy = frame.to_image(frames.xy[index].numpy() * frame.crop_size)
        np.testing.assert_allclose(xy, rendered.xy[index].numpy() + 0.5, atol=1e-3)
        np.testing.assert_allclose(Camera(300.0, 300.0, cx, cy, 320, 240).project(xyz), xy, atol=2e-3)
    ours = frames.to_camera(frames.xyz, codec)
    torch.testing.assert_close(ours, rendered.xyz, rtol=0, atol=1e-5)


def test_both_ways_of_rendering_agree(language: Language) -> None:
    """At the camera's size and scaled, or at the canonical focal length at once: the same scene, nearly."""
    true = render_dots(2, 4, width=640, height=480, focal=(500.0, 500.0))
    quick = render_dots(2, 4, width=320, height=240, focal=(250.0, 250.0))
    assert torch.equal(true.xyz, quick.xyz)
    seen = [seen_frames(each, language.view, language.codec) for each in (true, quick)]
    assert seen[0].pixels.shape == seen[1].pixels.shape
    torch.testing.assert_close(seen[0].xyz, seen[1].xyz, rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[0].xy, seen[1].xy, rtol=0, atol=1e-5)
    difference = (seen[0].pixels.float() - seen[1].pixels.float()).abs()
    assert difference.mean() < 1.5


def test_a_mirror_image_is_the_image_of_mirrored_people(language: Language) -> None:
    rendered = render_dots(3, 2, width=256, height=192, focal=(250.0, 250.0), shift=0.05)
    flipped = dataclasses.replace(
        rendered,
        images=rendered.images.flip(2),
        xy=torch.stack((255 - rendered.xy[..., 0], rendered.xy[..., 1]), dim=-1),
        xyz=rendered.xyz * torch.tensor([-1.0, 1, 1]),
        principal=torch.stack((255 - rendered.principal[:, 0], rendered.principal[:, 1]), dim=-1),
        boxes=torch.stack(
            (256 - rendered.boxes[:, 0] - rendered.boxes[:, 2], *rendered.boxes[:, 1:].unbind(-1)), dim=-1
        ),
    )
    ours, theirs = (
        mirrored(seen_frames(rendered, language.view, language.codec)),
        seen_frames(flipped, language.view, language.codec),
    )
    names = [
        name.replace("left", "*").replace("right", "left").replace("*", "right") for name in SMPL22.keypoints
    ]
    order = [SMPL22.keypoints.index(name) for name in names]
    assert torch.equal(ours.pixels, theirs.pixels)
    for name in ("box", "lean"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-5)
    for name in ("xy", "xyz", "visible"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name)[:, order], rtol=0, atol=1e-5)


def test_usable_joints_are_in_the_image_and_in_the_volume(language: Language) -> None:
    frames = seen_frames(
        render_dots(4, 1, width=256, height=192, focal=(250.0, 250.0)), language.view, language.codec
    )
    frames.xyz[0, 0, 2], frames.xyz[0, 1, 0], frames.xy[0, 2, 1] = 1.2, -0.1, 1.01
    frames.visible[0, 3], frames.visible[0, 4] = 0, 1
    frames.xyz[0, 4], frames.xy[0, 4] = 0.5, 0.5
    assert frames.usable[0, :5].tolist() == [False, False, False, False, True]


def test_stores_are_filled_once_and_read_whole(language: Language, tmp_path: Path) -> None:
    calls = []

    def render(seed: int, count: int, **settings: object) -> object:
        calls.append(seed)
        return render_dots(seed, count, **settings)  # type: ignore[arg-type]

    scenes = Scenes(size=(256, 192), focal=(220.0, 380.0), usual_focal=250.0, true_share=0.5, chunk=3)
    given = (scenes, language.view, language.codec)
    store = fill_store(tmp_path, 4, *given, poses=None, render=render)
    assert len(store) == 12 and len(calls) == 4
    (tmp_path / "draft-left-over").mkdir()
    again = fill_store(tmp_path, 5, *given, poses=None, render=render)
    assert len(calls) == 5 and again.numbers == [0, 1, 2, 3, 4]
    assert store.refresh() == 15
    first = scenes.render(2, language.view, language.codec, poses=None, render=render)
    for one, other in zip(dataclasses.astuple(first), dataclasses.astuple(store.get([2])), strict=True):
        assert torch.equal(one, other)
    drawn = [store.draw(4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0].pixels, drawn[1].pixels) and len(drawn[2]) == 4
    assert isinstance(drawn[0], Frames) and {
        len(store.draw(2, torch.Generator().manual_seed(s))) for s in range(9)
    } == {2}
    assert FrameStore(tmp_path).numbers == [0, 1, 2, 3, 4]


def test_windows_are_frames_of_a_shifted_sensor(language: Language) -> None:
    """The window of a frame, and the frame of the same window of the camera's image."""
    rendered = render_dots(5, 4, width=256, height=192, focal=(250.0, 250.0), shift=0.05)
    frames = seen_frames(rendered, language.view, language.codec)
    cut = cut_out(frames, 128, 160, language.view, language.codec, torch.Generator().manual_seed(0))
    assert len(cut) == 4 and cut.pixels.shape == (4, 128, 160, 3)
    for index in range(4):
        places = (
            frames.xy[index] * torch.tensor([256, 192]) - cut.xy[index] * torch.tensor([160, 128])
        ).mean(0)
        x, y = (round(float(each)) for each in places)
        part = dataclasses.replace(
            rendered,
            images=rendered.images[index : index + 1, y : y + 128, x : x + 160],
            xy=rendered.xy[index : index + 1] - torch.tensor([x, y]),
            principal=rendered.principal[index : index + 1] - torch.tensor([x, y]),
            xyz=rendered.xyz[index : index + 1],
            visible=rendered.visible[index : index + 1],
            boxes=rendered.boxes[index : index + 1] - torch.tensor([x, y, 0, 0]),
            focal=rendered.focal[index : index + 1],
        )
        whole = seen_frames(part, language.view, language.codec)
        for field in dataclasses.fields(Frames):
            torch.testing.assert_close(
                getattr(cut, field.name)[index], getattr(whole, field.name)[0], rtol=0, atol=2e-5
            )
    torch.testing.assert_close(cut.to_camera(cut.xyz, language.codec), rendered.xyz, rtol=0, atol=2e-5)
