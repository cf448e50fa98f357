# SPDX-License-Identifier: Apache-2.0
"""Focal-normalised frames against worked sizes, conformance vectors, transformers and a pinhole camera."""

from __future__ import annotations

import dataclasses
import importlib
import math
import types
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepose._core import BinCodec, Choice
from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.frame import LONGEST_SCALED_SIDE, FocalFrame

MIN_PIXELS, MAX_PIXELS = 12_544, 2_007_040
RANGES = ((-2.5, 2.5), (-2.5, 2.5), (0.0, 4.0))  # metres of X, Y, Z


@pytest.fixture(scope="module")
def image_processing() -> types.ModuleType:
    """transformers' Qwen2-VL image processing; the one without torchvision has its own module since 5."""
    pytest.importorskip("transformers")
    for name in ("image_processing_pil_qwen2_vl", "image_processing_qwen2_vl"):
        try:
            return importlib.import_module(f"transformers.models.qwen2_vl.{name}")
        except ImportError:
            continue
    pytest.skip("no Qwen2-VL image processing that can be imported")


# Sizes.


@pytest.mark.parametrize(
    ("camera", "focal", "crop", "scaled", "cropped", "offset", "model", "tokens"),
    [
        ((1408, 1408), 600, 1400, (2346, 2346), (1400, 1400), (473, 473), (1408, 1408), 1936),
        ((1408, 1408), 600, None, (2346, 2346), (2346, 2346), (0, 0), (1408, 1408), 1936),
        ((640, 480), 600, None, (1066, 800), (1066, 800), (0, 0), (1056, 800), 825),
        ((640, 480), 525, None, (1219, 914), (1219, 914), (0, 0), (1216, 928), 1102),
        ((1280, 720), 640, None, (2000, 1125), (2000, 1125), (0, 0), (1888, 1056), 1947),
        ((1280, 720), 900, None, (1422, 800), (1422, 800), (0, 0), (1408, 800), 1100),
        ((1920, 1080), 1400, None, (1371, 771), (1371, 771), (0, 0), (1376, 768), 1032),
        ((3840, 2160), 3000, None, (1280, 720), (1280, 720), (0, 0), (1280, 704), 880),
        ((848, 480), 424, 1400, (2000, 1132), (1400, 1132), (300, 0), (1408, 1120), 1540),
    ],
)
def test_worked_sizes(
    camera: tuple[int, int],
    focal: float,
    crop: int | None,
    scaled: tuple[int, int],
    cropped: tuple[int, int],
    offset: tuple[int, int],
    model: tuple[int, int],
    tokens: int,
) -> None:
    frame = FocalFrame(camera, focal, crop=crop)
    assert frame.scaled_size == scaled
    assert frame.crop_size == cropped
    assert frame.crop_offset == offset
    assert frame.model_size == model
    assert frame.image_tokens == tokens


def test_a_crop_beyond_the_image_is_none() -> None:
    frame = FocalFrame((640, 480), 600, crop=1400)
    assert frame.crop_size == (1066, 800) and frame.crop_offset == (0, 0)
    assert frame.model_size == FocalFrame((640, 480), 600).model_size


def test_an_odd_margin_is_cut_on_the_far_side() -> None:
    frame = FocalFrame((1405, 1402), 1000, crop=1400)
    assert frame.crop_offset == (2, 1)


def test_other_focal_lengths_and_factors() -> None:
    frame = FocalFrame((300, 200), 150, canonical_focal=75, factor=28, min_pixels=1, max_pixels=10**6)
    assert frame.scaled_size == (150, 100)
    assert frame.model_size == (140, 112)
    assert frame.image_tokens == 5 * 4


# Conformance vectors.


def test_conformance_vector_9() -> None:
    frame = FocalFrame((1408, 1408), 600, crop=1400)
    codecs = [BinCodec(low=0, high=extent, tokens=range(5000, 6000)) for extent in frame.crop_size]
    uv = [codec.read(Choice(5000 + bin)).value for codec, bin in zip(codecs, (261, 630), strict=True)]
    assert uv == pytest.approx([365.766, 882.883], abs=5e-4)
    assert frame.to_image(uv) == pytest.approx([503.26, 813.53], abs=5e-3)
    assert [codec.encode(value) for codec, value in zip(codecs, uv, strict=True)] == [261, 630]


# Arguments of a frame.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(focal=0), "focal length above 0, in pixels; got 0.0"),
        (dict(focal=-600), "above 0, in pixels; got -600.0"),
        (dict(focal=math.nan), "above 0, in pixels; got nan"),
        (dict(focal=math.inf), "above 0, in pixels; got inf"),
        (dict(focal="f"), "focal length in pixels; got 'f'"),
        (dict(focal=None), "focal length in pixels; got None"),
        (dict(focal=10**400), "focal length in pixels; got 1000"),
        (dict(focal=4.2), r"sides from 32 to 8192 px; got 4.2 px, .* by 238.095; .*not in millimetres"),
        (dict(focal=5e-324), "got 4.94066e-324 px, which scales it by inf"),
        (dict(focal=1e308), r"got 1e\+308 px, which scales it by 1e-305"),
        (dict(focal=15_001), "which scales it by 0.0666622"),  # 480 px become 31.998
        (dict(canonical_focal=0), "canonical focal length above 0, in pixels; got 0.0"),
        (dict(canonical_focal=math.nan), "canonical focal length .* got nan"),
        (dict(image_size=(0, 480)), "at least 1x1 px; got 0x480 px"),
        (dict(image_size=(640, -1)), "at least 1x1 px; got 640x-1 px"),
        (dict(image_size=()), r"two whole numbers; got \(\)"),
        (dict(image_size=(480, 640, 3)), r"two whole numbers; got \(480, 640, 3\)"),
        (dict(image_size=(640.0, 480.0)), r"two whole numbers; got \(640.0, 480.0\)"),
        (dict(image_size=640), "two whole numbers; got 640"),
        (dict(image_size=None), "two whole numbers; got None"),
        (dict(focal=(600,)), r"one focal length or \(fx, fy\); got \(600,\)"),
        (dict(focal=(600, 600, 1)), r"one focal length or \(fx, fy\); got \(600, 600, 1\)"),
        (dict(focal=(600, -1)), "focal length above 0, in pixels; got -1.0"),
        (dict(focal=(4.2, 600)), r"sides from 32 to 8192 px; got 4.2x600 px, .* by 238.095x1.66667; "),
        (dict(principal_point=320), r"two finite numbers; got 320; pass pixels"),
        (dict(principal_point=(320, math.nan)), r"two finite numbers; got \(320, nan\)"),
        (dict(principal_point=(1, 2, 3)), r"two finite numbers; got \(1, 2, 3\)"),
        (dict(crop=0), "a crop of at least 32 px, one image token; got 0"),
        (dict(crop=-1400), "a crop of at least 32 px, one image token; got -1400"),
        (dict(factor=0), "got factor 0"),
        (dict(min_pixels=10, max_pixels=9), "min_pixels 10, max_pixels 9"),
        (dict(image_size=(6500, 32), focal=1000), "at most 200 times; got 6500x32 px"),
    ],
)
def test_unusable_frames(arguments: dict[str, Any], message: str) -> None:
    usable: dict[str, Any] = {"image_size": (640, 480), "focal": 600}
    with pytest.raises(InvalidInputError, match=message):
        FocalFrame(**{**usable, **arguments})


def test_the_limits_are_usable() -> None:
    assert FocalFrame((LONGEST_SCALED_SIDE, 480), 1000).scaled_size == (LONGEST_SCALED_SIDE, 480)
    assert FocalFrame((640, 480), 15_000).scaled_size == (42, 32)
    with pytest.raises(InvalidInputError, match="sides from 32 to 8192 px"):
        FocalFrame((LONGEST_SCALED_SIDE + 1, 480), 1000)


def test_numbers_of_numpy_are_those_of_python() -> None:
    frame = FocalFrame((np.int64(640), np.uint16(480)), np.float32(525))
    assert frame == FocalFrame((640, 480), 525.0)
    assert hash(frame) == hash(FocalFrame((640, 480), 525.0))
    assert isinstance(frame.scale, float) and frame.scale == 1000 / 525


def test_a_frame_does_not_change() -> None:
    frame = FocalFrame((640, 480), 600)
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.focal = 700.0  # type: ignore[misc]
    assert dataclasses.replace(frame, focal=700).scaled_size == (914, 685)


# Coordinates.

cameras = st.builds(
    FocalFrame,
    st.tuples(st.integers(200, 4000), st.integers(200, 4000)),
    st.floats(500, 3000),
    crop=st.sampled_from([None, 700, 1400]),
)


@given(
    cameras,
    st.lists(
        st.tuples(st.floats(-2.5, 2.5), st.floats(-2.5, 2.5), st.floats(0.1, 4)), min_size=4, max_size=30
    ),
)
def test_a_pinhole_camera_has_the_canonical_focal_length(
    frame: FocalFrame, points: list[tuple[float, float, float]]
) -> None:
    """A point projected with f lands in the frame where a camera of 1000 px projects it."""
    xyz = np.array(points)
    principal = np.array(frame.image_size) / 2
    rays = xyz[:, :2] / xyz[:, 2:]
    uv = frame.to_frame(frame.focal * rays + principal)
    np.testing.assert_allclose(uv, 1000 * rays + frame.to_frame(principal), rtol=1e-9, atol=1e-6)
    # Whose principal point is the middle of the frame, but for whole pixels.
    assert np.abs(frame.to_frame(principal) - np.array(frame.crop_size) / 2).max() <= 1


@given(cameras, st.tuples(st.floats(-500, 5000), st.floats(-500, 5000)))
def test_to_image_takes_back_to_frame(frame: FocalFrame, uv: tuple[float, float]) -> None:
    left, top = frame.crop_offset
    expected = ((uv[0] + left) / frame.scale, (uv[1] + top) / frame.scale)
    assert frame.to_image(uv).tolist() == list(expected)
    np.testing.assert_allclose(frame.to_frame(frame.to_image(uv)), uv, atol=1e-9)


def test_coordinates_keep_shape_and_nan() -> None:
    frame = FocalFrame((1408, 1408), 500, crop=1400)
    placed = frame.to_image(np.array([[[1.0, math.nan]]], dtype=np.float32))
    assert placed.shape == (1, 1, 2) and placed.dtype == np.float64
    assert placed[0, 0, 0] == (1 + 708) / 2 and math.isnan(placed[0, 0, 1])
    assert frame.to_frame(np.zeros((0, 2))).shape == (0, 2)


# Pixels.


def noise(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("focal", "crop"), [(250, None), (250, 300), (400, None), (1000, None), (1000, 64), (3000, None)]
)
def test_apply_resizes_crops_and_resizes(focal: float, crop: int | None) -> None:
    frame = FocalFrame((200, 120), focal, crop=crop)
    image = noise(200, 120)
    result = frame.apply(image)
    assert result.shape == (frame.model_size[1], frame.model_size[0], 3)
    assert result.dtype == np.uint8 and result.flags.c_contiguous and result.flags.writeable
    scaled = np.asarray(PIL.Image.fromarray(image).resize(frame.scaled_size, PIL.Image.Resampling.LANCZOS))
    (left, top), (width, height) = frame.crop_offset, frame.crop_size
    cut = np.ascontiguousarray(scaled[top : top + height, left : left + width])
    expected = PIL.Image.fromarray(cut).resize(frame.model_size, PIL.Image.Resampling.BICUBIC)
    assert np.array_equal(result, np.asarray(expected))


@pytest.mark.parametrize(("size", "focal", "crop"), [((200, 120), 300, None), ((160, 200), 200, 450)])
def test_apply_gives_the_pixels_of_transformers(
    image_processing: types.ModuleType, size: tuple[int, int], focal: float, crop: int | None
) -> None:
    """The Qwen image processor on the scaled, cropped image; its patches are put together again."""
    pytest.importorskip("torch")
    processor_class = (
        getattr(image_processing, "Qwen2VLImageProcessorPil", None) or image_processing.Qwen2VLImageProcessor
    )
    frame = FocalFrame(size, focal, crop=crop)
    image = noise(*size)
    scaled = PIL.Image.fromarray(image).resize(frame.scaled_size, PIL.Image.Resampling.LANCZOS)
    (left, top), (width, height) = frame.crop_offset, frame.crop_size
    processor = processor_class(
        patch_size=16,
        merge_size=2,
        size={"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        do_rescale=False,
        do_normalize=False,
    )
    out = processor(scaled.crop((left, top, left + width, top + height)), return_tensors="np")
    _, rows, columns = out["image_grid_thw"][0]
    assert (columns * 16, rows * 16) == frame.model_size
    assert rows * columns // 4 == frame.image_tokens
    # (row and column of tokens, row and column in a token, channel, time, pixels of a patch)
    patches = out["pixel_values"].reshape(rows // 2, columns // 2, 2, 2, 3, 2, 16, 16)[..., 0, :, :]
    pixels = patches.transpose(0, 2, 5, 1, 3, 6, 4).reshape(rows * 16, columns * 16, 3)
    assert np.array_equal(frame.apply(image), pixels)


@pytest.mark.parametrize("crop", [None, 500])
def test_a_spot_is_found_where_to_image_says(crop: int | None) -> None:
    frame = FocalFrame((320, 240), 410, crop=crop)
    y, x = np.mgrid[:240, :320] + 0.5
    spot = np.array([171.3, 98.6])
    glow = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 5.0**2))
    seen = frame.apply(np.repeat(glow.round().astype(np.uint8)[..., None], 3, axis=2))[..., 0].astype(float)
    v, u = np.mgrid[: seen.shape[0], : seen.shape[1]] + 0.5
    center = np.array([(u * seen).sum(), (v * seen).sum()]) / seen.sum()
    in_frame = center / frame.model_size * frame.crop_size
    np.testing.assert_allclose(frame.to_image(in_frame), spot, atol=0.3)
    np.testing.assert_allclose(in_frame, frame.to_frame(spot), atol=0.8)


def test_apply_takes_views_and_leaves_them_alone() -> None:
    frame = FocalFrame((100, 80), 500)
    image = noise(200, 80)[:, ::-2]
    before = image.copy()
    assert np.array_equal(frame.apply(image), frame.apply(before))
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((640, 480, 3), np.uint8), "expected an image of 640x480 px; got 480x640 px"),
        (np.zeros((480, 641, 3), np.uint8), "expected an image of 640x480 px; got 641x480 px"),
        (np.zeros((480, 640), np.uint8), "uint8 RGB array; got uint8 array of shape"),
        (np.zeros((480, 640, 4), np.uint8), "uint8 RGB array; got uint8 array of shape"),
        (np.zeros((480, 640, 3), np.float32), "uint8 RGB array; got float32 array"),
        (np.zeros((0, 640, 3), np.uint8), "at least one pixel"),
        (None, "expected a path, an"),
    ],
)
def test_unusable_images(image: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        FocalFrame((640, 480), 600).apply(image)


# Coordinates of the camera.


def test_without_a_principal_point_nothing_moves() -> None:
    frame = FocalFrame((1405, 1402), 800, crop=1400)
    assert frame.principal_offset == (0.0, 0.0)
    xyz = np.array([[0.1, -0.2, 1.5], [math.nan] * 3])
    np.testing.assert_array_equal(frame.to_camera(xyz), xyz)
    np.testing.assert_array_equal(frame.to_model(xyz), xyz)


def test_the_middle_as_principal_point_is_none_but_for_whole_pixels() -> None:
    """Which `scaled_size` and `crop_offset` drop: less than a pixel of 1000 each."""
    frame = FocalFrame((1408, 1408), 600, (704, 704), crop=1400)
    assert frame.principal_offset == pytest.approx((1 / 3, 1 / 3))
    assert FocalFrame((1408, 1408), 1000, (704, 704)).principal_offset == (0.0, 0.0)


def test_one_number_of_pixels_off_shears_by_a_thousandth() -> None:
    frame = FocalFrame((1000, 800), 1000, (510, 380))
    assert frame.principal_offset == (10, -20)
    moved = frame.to_camera([0.5, 0.25, 2.0])
    np.testing.assert_allclose(moved, [0.5 - 2 * 0.010, 0.25 + 2 * 0.020, 2.0], rtol=1e-15)
    np.testing.assert_allclose(frame.to_model(moved), [0.5, 0.25, 2.0], rtol=1e-15)
    with pytest.raises(InvalidInputError, match=r"shape \(..., 3\); got \(2,\)"):
        frame.to_camera([0.5, 0.25])


def test_pixels_that_are_not_square() -> None:
    frame = FocalFrame((640, 480), (500, 400), (300, 250))
    assert frame.scales == (2.0, 2.5) and frame.scale == pytest.approx(math.sqrt(5))
    assert frame.scaled_size == (1280, 1200)
    assert frame.to_image([200.0, 250.0]).tolist() == [100.0, 100.0]
    assert frame.to_frame([100.0, 100.0]).tolist() == [200.0, 250.0]
    assert frame.principal_offset == (600 - 640, 625 - 600)
    assert FocalFrame((640, 480), (600, 600)) == FocalFrame((640, 480), 600)
    image = noise(640, 480)
    scaled = PIL.Image.fromarray(image).resize((1280, 1200), PIL.Image.Resampling.LANCZOS)
    expected = scaled.resize(frame.model_size, PIL.Image.Resampling.BICUBIC)
    assert np.array_equal(frame.apply(image), np.asarray(expected))


@st.composite
def views(draw: st.DrawFn) -> tuple[Camera, FocalFrame]:
    """A camera whose principal point is anywhere in its image, or a cut-out of one, and its frame."""
    width, height = draw(st.integers(400, 2000)), draw(st.integers(400, 2000))
    fx = draw(st.floats(500, 1500))
    camera = Camera(
        fx=fx,
        fy=fx * draw(st.floats(0.8, 1.25)),
        cx=draw(st.floats(0.2, 0.8)) * width,
        cy=draw(st.floats(0.2, 0.8)) * height,
        width=width,
        height=height,
    )
    if draw(st.booleans()):
        left, top = draw(st.integers(0, width // 2)), draw(st.integers(0, height // 2))
        camera = camera.crop(left, top, width - left, height - draw(st.integers(0, 50)) - top)
    return camera, FocalFrame(
        camera.size,
        (camera.fx, camera.fy),
        (camera.cx, camera.cy),
        crop=draw(st.sampled_from([None, 1400, 700])),
    )


@given(views(), st.integers(0, 2**32 - 1))
def test_answers_of_an_ideal_model_are_the_points_of_the_camera(
    view: tuple[Camera, FocalFrame], seed: int
) -> None:
    """Points are seen by the real camera; the model answers as if the principal point were in the middle."""
    camera, frame = view
    width, height = frame.crop_size
    rng = np.random.default_rng(seed)
    uv = rng.uniform(0, (width, height), (50, 2))  # in the frame: what the model sees
    z = rng.uniform(0.2, 4.0, 50)
    xy = frame.to_image(uv)
    truth = np.column_stack([(xy - (camera.cx, camera.cy)) / (camera.fx, camera.fy) * z[:, None], z])
    np.testing.assert_allclose(camera.project(truth), xy, atol=1e-9)
    answer = np.column_stack([z[:, None] * (uv - (width / 2, height / 2)) / 1000, z])
    np.testing.assert_allclose(frame.to_model(truth), answer, atol=1e-12)

    codecs = [BinCodec(low=low, high=high, tokens=range(1000)) for low, high in RANGES]
    said = (np.abs(answer[:, :2]) <= 2.5).all(axis=1)  # what bins can say
    read = np.array([[c.decode(c.encode(v)) for c, v in zip(codecs, p, strict=True)] for p in answer[said]])
    found = frame.to_camera(read.reshape(-1, 3))
    error = np.abs(found - truth[said])
    slope = np.abs(frame.principal_offset) / 1000
    half = np.array([(high - low) / 999 / 2 for low, high in RANGES])
    assert (error[:, 2] <= half[2] + 1e-9).all()
    # Half a bin of its own and what half a bin of Z contributes through the shear.
    assert (error[:, :2] <= half[:2] + slope * half[2] + 1e-9).all()
    # In the image that is half a bin at its depth, and Z's half bin along the ray from the frame's middle.
    off = np.abs(camera.project(found) - xy[said])
    depth = np.maximum(found[:, 2:], 1e-9)
    along = np.abs(uv[said] - (width / 2, height / 2)) / 1000 * half[2]
    bound = (half[:2] + along) / depth * (camera.fx, camera.fy)
    assert (off <= bound + 1e-6).all()
    # The 2-D bins alone are within half a bin of the frame.
    steps = np.array([width, height]) / 999 / 2 / np.array(frame.scales)
    planar = [BinCodec(low=0, high=extent, tokens=range(1000)) for extent in (width, height)]
    seen = np.array([[c.decode(c.encode(v)) for c, v in zip(planar, p, strict=True)] for p in uv])
    assert (np.abs(frame.to_image(seen) - xy) <= steps + 1e-9).all()
