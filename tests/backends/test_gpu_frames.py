# SPDX-License-Identifier: Apache-2.0
"""Frames on a device: how they are handed over, and their preprocessing against that of the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import edgepose
from edgepose import Localizer
from edgepose._core import DeviceArray, PixelView
from edgepose.backends.gpu_preprocessing import GpuPreprocessor
from edgepose.camera import Camera
from edgepose.crop import SquareCrop
from edgepose.errors import InvalidInputError
from edgepose.frame import FocalFrame
from edgepose.gpu_frames import CutPatches, GpuFrame, WarpedCrop, gpu_frame
from edgepose.images import load_image
from edgepose.patches import patchify

from ..device_backends import expect_same
from .bundles import bundle_of
from .fake_tensorrt import FakeTensorRtBackend, HostMemory
from .gpu_cases import DlpackArray, InterfaceArray
from .places import Place
from .test_tensorrt import BOX, CAMERA

ASSETS = Path(edgepose.__file__).parent / "assets"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALVES = (0.5, 0.5, 0.5)
AVX2, NEON = 11, 100  # OpenCV's numbers of them
FUSES = cv2.checkHardwareSupport(AVX2) or cv2.checkHardwareSupport(NEON)
"""Whether OpenCV adds products in one rounding, as the kernels do: Note [fused levels]."""

STRAIGHT = Camera(300, 300, 160, 128, 320, 256)
BENT = {
    "barrel": Camera(300, 310, 150, 130, 320, 256, (-0.3, 0.1, 0.002, -0.001)),
    "pincushion": Camera(300, 290, 165, 120, 320, 256, (0.25, 0.05, 0.001, 0.001, 0.01)),
    "rational": Camera(260, 260, 160, 128, 320, 256, (0.1, -0.02, 0.001, 0.0, 0.01, 0.2, 0.05, 0.01)),
    "tilted": Camera(260, 260, 160, 128, 320, 256, (0.1, *(0.0,) * 6, 0.0, 0.01, 0, 0.01, 0, 0.02, 0.03)),
    "fisheye": Camera(140, 150, 170, 120, 320, 256, (0.05, -0.01, 0.002, 0.0), "fisheye"),
    "cropped": Camera(600, 600, 900, -200, 320, 256, (-0.2, 0.05, 0, 0), cropped=True),
}


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def made(place: Place, what: WarpedCrop | CutPatches, dtype: str = "float32") -> NDArray[Any]:
    size = int(np.prod(what.shape)) * np.dtype(dtype).itemsize
    target = DeviceArray(place.memory.allocate(size), what.shape, dtype)
    preprocessor = GpuPreprocessor(place.device, place.memory)
    preprocessor.fill(what, target)
    return place.read(target.address, what.shape, dtype)


def expect_levels(got: NDArray[Any], expected: NDArray[Any], level: float = 1.0) -> None:
    """The same numbers, but for single levels where OpenCV does not round as the kernels do."""
    if int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV before 5 interpolates in whole numbers")
    apart = np.abs(got.astype(np.float64) - expected)
    assert apart.max() <= (0.0 if FUSES else 2.001 * level)
    assert (apart > level / 10).mean() < 1e-3


def frame_of(place: Place, array: NDArray[np.uint8]) -> GpuFrame:
    frame = gpu_frame(place.put(array))
    assert frame is not None
    return frame


@pytest.mark.parametrize("seed", range(8))
def test_a_crop_is_warped_as_on_the_cpu(place: Place, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = load_image(ASSETS / "person.jpg") if seed % 2 else noise(150, 210, seed)
    height, width = image.shape[:2]
    box = rng.uniform(-20, width / 2), rng.uniform(-20, height / 2), *rng.uniform(20, width, 2)
    crop = SquareCrop.from_box(box, (width, height), scale=1.25)
    size = int(rng.choice([28, 224]))
    expected = crop.pixels(image, size, mean=MEAN, std=STD)
    got = made(place, WarpedCrop(frame_of(place, image), crop, size, MEAN, STD))
    expect_levels(got, expected, 1 / 255 / min(STD))
    np.testing.assert_array_equal(
        made(place, WarpedCrop(frame_of(place, image), crop, size, MEAN, STD), "float16"),
        got.astype("float16"),
    )


def test_strides_are_kept_to(place: Place) -> None:
    image = noise(90, 120)
    padded = np.zeros((90, 130, 4), np.uint8)
    padded[:, :120, :3] = image
    planar = np.ascontiguousarray(image.transpose(2, 0, 1))
    crop = SquareCrop.from_box((10, 5, 60, 70), (120, 90))
    expected = made(place, WarpedCrop(frame_of(place, image), crop, 56, MEAN, STD))
    for view in (padded[:, :120, :3], planar.transpose(1, 2, 0), image[::-1][::-1]):
        got = made(place, WarpedCrop(frame_of(place, view), crop, 56, MEAN, STD))
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("size", "focal", "crop"),
    [
        ((640, 480), 600.0, None),
        ((320, 240), (900.0, 700.0), 256),
        ((200, 300), 1000.0, None),
        ((340, 272), (900.0, 1100.0), None),  # wider and less high
        ((320, 256), (1020.0, 1055.0), None),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_patches_are_cut_as_on_the_cpu(
    place: Place, size: tuple[int, int], focal: float | tuple[float, float], crop: int | None, dtype: str
) -> None:
    frame = FocalFrame(size, focal, crop=crop, max_pixels=256 * 1024)
    image = noise(size[1], size[0], 3)
    camera = dataclasses.replace(STRAIGHT, width=size[0], height=size[1])
    expected = patches(camera, frame, image)
    got = made(place, CutPatches(frame_of(place, image), camera, frame, 16, 2, HALVES, HALVES), dtype)
    np.testing.assert_array_equal(got, expected.astype(dtype))


def patches(camera: Camera, frame: FocalFrame, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """On the CPU."""
    seen = frame.apply(camera.undistort(image))
    return patchify(seen, patch_size=16, merge=2, mean=HALVES, std=HALVES)


@pytest.mark.parametrize("lens", BENT)
@pytest.mark.parametrize("canonical", [300.0, 410.0, 170.0])
def test_a_bent_frame_is_straightened_as_on_the_cpu(place: Place, lens: str, canonical: float) -> None:
    camera = BENT[lens]
    frame = FocalFrame(camera.size, 300.0, canonical_focal=canonical, crop=352)
    image = noise(256, 320, 4)
    expected = patches(camera, frame, image)
    whole = np.zeros((256, 340, 4), np.uint8)
    whole[:, 10:330, :3] = image
    sparse = np.zeros((512, 960, 3), np.uint8)
    sparse[::2, ::3] = image
    planar = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    for view in (image, whole[:, 10:330, :3], sparse[::2, ::3], planar):
        got = made(place, CutPatches(frame_of(place, view), camera, frame, 16, 2, HALVES, HALVES))
        expect_levels(got, expected, 2 / 255)
    assert (expected != patches(STRAIGHT, frame, image)).mean() > 0.5
    black = (camera.undistort(image) == 0).all(axis=2).mean()
    assert black > 0.02 if lens in ("pincushion", "tilted", "cropped") else black < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_any_map_is_followed_as_opencv_does(place: Place, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = noise(100, 133, seed)
    height, width = 300, 1000 + seed
    steps = 10.0**seed  # of coordinates: whole pixels, tenths, hundredths
    u, v = (
        (rng.integers(int(-3 * steps), int((side + 3) * steps), (height, width)) / steps).astype(np.float32)
        for side in (133, 100)
    )
    odd = (np.nan, np.inf, -np.inf, 1e10, -3e9, 2147483648.0, -1.0, -0.9999999, -1e-10, 132.5, 132.99999)
    u[5, : len(odd)], v[6, : len(odd)] = odd, odd
    expected = cv2.remap(image, u, v, cv2.INTER_LINEAR)
    table = np.stack([u, v]).view(np.uint8).reshape(-1)
    places = place.memory.allocate(table.nbytes)
    place.memory.upload(places, table)
    target = place.memory.allocate(expected.nbytes)
    frame = frame_of(place, image)
    view = PixelView(frame.address, 100, 133, frame.strides)
    place.device.remap(view, places, PixelView(target, height, width, (3 * width, 3, 1)))
    expect_levels(place.read(target, expected.shape, "uint8"), expected)


def test_cameras_come_and_go(place: Place) -> None:
    image = noise(256, 320, 5)
    there = frame_of(place, image)
    preprocessor = GpuPreprocessor(place.device, place.memory)
    targets = [place.memory.allocate(2 << 20) for _ in range(8)]

    def fill(focal: float, target: int) -> CutPatches:
        camera = dataclasses.replace(BENT["barrel"], fx=focal, fy=focal)
        frame = FocalFrame(camera.size, focal, canonical_focal=330.0)
        cut = CutPatches(there, camera, frame, 16, 2, HALVES, HALVES)
        preprocessor.fill(cut, DeviceArray(target, cut.shape, "float32"))
        return cut

    taken = []
    for turn in range(3):
        # Images that grow, and more cameras than are kept, before the first one is done.
        focals = [340.0 - 5 * number + turn / 2 for number in range(len(targets))]
        cuts = [fill(*pair) for pair in zip(focals, targets, strict=True)]
        for cut, target in zip(cuts, targets, strict=True):
            expected = patches(cut.camera, cut.focal, image)
            expect_levels(place.read(target, cut.shape, "float32"), expected, 2 / 255)
        if isinstance(place.memory, HostMemory):
            place.memory.check()
            taken.append(place.memory.bytes)
    assert not taken or max(taken) < taken[0] + 100_000  # a map takes 655 kB
    waited = place.device.counts.synchronisations
    fill(focals[-1], targets[-1])
    assert place.device.counts.synchronisations == waited


def test_float16_is_rounded_as_numpy_does(place: Place) -> None:
    # Every value of the mean and level is a test of the conversion; extremes are tested by way of the mean.
    crop = SquareCrop(8.0, 8.0, 16.0)
    image = noise(16, 16)
    for mean, std in (
        ((0.0,) * 3, (1e-9,) * 3),
        ((0.0,) * 3, (3e4,) * 3),
        ((0.0,) * 3, (7e6,) * 3),
        (MEAN, STD),
    ):
        with np.errstate(over="ignore"):
            full = made(place, WarpedCrop(frame_of(place, image), crop, 16, mean, std)).astype(np.float16)
        half = made(place, WarpedCrop(frame_of(place, image), crop, 16, mean, std), "float16")
        np.testing.assert_array_equal(half.view(np.uint16), full.view(np.uint16))


def test_arrays_of_other_libraries_are_read_without_a_copy() -> None:
    image = noise(20, 30)
    by_interface = gpu_frame(InterfaceArray(image))
    by_dlpack = gpu_frame(DlpackArray(image))
    for frame in (by_interface, by_dlpack):
        assert frame is not None
        assert (frame.address, frame.shape, frame.strides) == (image.ctypes.data, (20, 30, 3), (90, 3, 1))
    assert by_interface is not None and by_interface.stream is None
    assert by_dlpack is not None and by_dlpack.stream == 1
    for kind, streams in ((2, [1]), (13, [1]), (3, [None])):  # torch refuses a stream for pinned memory
        array = DlpackArray(image, kind)
        assert gpu_frame(array) is not None
        assert array.streams == streams
    older = InterfaceArray(image)
    del older.__cuda_array_interface__["stream"]
    waited = gpu_frame(older)
    assert waited is not None and waited.stream == 1
    sliced = gpu_frame(DlpackArray(image[:, 5:]))
    assert sliced is not None and sliced.address == image.ctypes.data + 15 and sliced.strides == (90, 3, 1)
    for host in (image, "street.jpg", Path("street.jpg"), PIL.Image.fromarray(image), None):
        assert gpu_frame(host) is None


def test_arrays_of_another_kind_are_refused() -> None:
    for array in (noise(4, 5).astype(np.float32), noise(4, 5)[..., 0], np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InvalidInputError, match=r"\(H, W, 3\) uint8 RGB array on the GPU; got"):
            gpu_frame(InterfaceArray(array))


def test_a_backend_on_the_cpu_says_what_to_do() -> None:
    localizer = Localizer("posellm-nano", threads=1)
    with pytest.raises(InvalidInputError, match="copy the image"):
        localizer.locate(InterfaceArray(noise(40, 40)), boxes=[(0, 0, 40, 40)])  # type: ignore[arg-type]


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("wrap", [InterfaceArray, DlpackArray])
def test_a_frame_on_the_gpu_is_answered_like_one_on_the_host(
    wrap: Callable[[NDArray[np.uint8]], Any], engines: Callable[[str], Path]
) -> None:
    image = load_image(ASSETS / "person.jpg")
    gpu = Localizer(bundle_of("posellm"), engines=engines("posellm"))
    assert isinstance(gpu._backend, FakeTensorRtBackend)
    expected = gpu.locate(image, boxes=[BOX])
    uploads = gpu._backend.memory.uploads
    for _ in range(3):
        expect_same(gpu.locate(wrap(image), boxes=[BOX]), expected, tolerance=1e-9 if FUSES else 5e-3)
    assert gpu._backend.memory.uploads == uploads
    taihri = Localizer(bundle_of("taihri"), engines=engines("taihri"))
    expect_same(
        taihri.ask(wrap(image), "Please shake my hand", camera=CAMERA),
        taihri.ask(image, "Please shake my hand", camera=CAMERA),
    )


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    "bent",
    [
        dataclasses.replace(CAMERA, distortion=(-0.25, 0.08, 0.001, 0.002)),
        dataclasses.replace(CAMERA, distortion=(0.05, -0.01, 0.002, 0.0), model="fisheye"),
    ],
)
def test_a_bent_frame_is_answered_like_one_on_the_host(
    place: Place, bent: Camera, engines: Callable[[str], Path]
) -> None:
    image = load_image(ASSETS / "person.jpg")
    there = place.put(image)
    gpu = Localizer(bundle_of("taihri"), engines=engines("taihri"))
    for _ in range(3):
        expect_same(
            gpu.ask(there, "Please shake my hand", camera=bent),
            gpu.ask(image, "Please shake my hand", camera=bent),
        )
        expect_same(
            gpu.locate(there, keypoints=["neck"], camera=bent),
            gpu.locate(image, keypoints=["neck"], camera=bent),
        )


@pytest.mark.usefixtures("on_gpu")
def test_a_clip_on_the_gpu_is_tracked(engines: Callable[[str], Path]) -> None:
    image = load_image(ASSETS / "person.jpg")
    gpu = Localizer(bundle_of("posellm"), engines=engines("posellm"))
    frames = [np.roll(image, 3 * shift, axis=1) for shift in range(4)]
    there = [InterfaceArray(frame) for frame in frames]
    seen = []

    def find(number: int, pixels: Any, last: Any) -> Any:
        seen.append(pixels)
        return [BOX] if number == 0 else None

    list(gpu.track(there, boxes=find))  # type: ignore[arg-type]
    assert seen == there  # as they were passed
    for got, expected in zip(
        gpu.track(there, boxes=[BOX]),  # type: ignore[arg-type]
        gpu.track(frames, boxes=[BOX]),
        strict=True,
    ):
        np.testing.assert_allclose(got[0].xy, expected[0].xy, atol=1)
