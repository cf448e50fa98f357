# SPDX-License-Identifier: Apache-2.0
"""Frames on a device: how they are handed over, and their preprocessing against that of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import edgepose
from edgepose import Localizer
from edgepose._core import DeviceArray
from edgepose.backends.gpu_preprocessing import GpuPreprocessor
from edgepose.camera import Camera
from edgepose.crop import SquareCrop
from edgepose.errors import InvalidInputError
from edgepose.frame import FocalFrame
from edgepose.gpu_frames import CutPatches, GpuFrame, WarpedCrop, gpu_frame
from edgepose.images import load_image
from edgepose.patches import patchify
from edgepose.resampling import pillow_weights

from ..device_backends import expect_same
from .bundles import bundle_of
from .fake_tensorrt import FakeTensorRtBackend
from .gpu_cases import DlpackArray, InterfaceArray
from .places import Place
from .test_tensorrt import BOX, CAMERA

ASSETS = Path(edgepose.__file__).parent / "assets"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def made(place: Place, what: WarpedCrop | CutPatches, dtype: str = "float32") -> NDArray[Any]:
    size = int(np.prod(what.shape)) * np.dtype(dtype).itemsize
    target = DeviceArray(place.memory.allocate(size), what.shape, dtype)
    preprocessor = GpuPreprocessor(place.device, place.memory)
    preprocessor.fill(what, target)
    return place.read(target.address, what.shape, dtype)


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
    # Where a value lies between two levels, rounding may go either way.
    level = 1 / 255 / min(STD)
    assert np.abs(got - expected).max() <= level * 1.001
    assert (np.abs(got - expected) > level / 10).mean() < 2e-3
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
    [((640, 480), 600.0, None), ((320, 240), (900.0, 700.0), 256), ((200, 300), 1000.0, None)],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_patches_are_cut_as_on_the_cpu(
    place: Place, size: tuple[int, int], focal: float | tuple[float, float], crop: int | None, dtype: str
) -> None:
    frame = FocalFrame(size, focal, crop=crop, max_pixels=256 * 1024)
    image = noise(size[1], size[0], 3)
    mean = std = (0.5, 0.5, 0.5)
    expected = patchify(frame.apply(image), patch_size=16, merge=2, mean=mean, std=std)
    got = made(place, CutPatches(frame_of(place, image), frame, 16, 2, mean, std), dtype)
    np.testing.assert_array_equal(got, expected.astype(dtype))


@pytest.mark.parametrize("kind", ["lanczos", "bicubic"])
@pytest.mark.parametrize(("size", "target"), [(100, 37), (37, 100), (640, 1066), (3, 1), (1, 5)])
def test_weights_are_those_of_pillow(kind: Any, size: int, target: int) -> None:
    row = noise(1, size)[0]
    filters = {"lanczos": PIL.Image.Resampling.LANCZOS, "bicubic": PIL.Image.Resampling.BICUBIC}
    expected = np.asarray(PIL.Image.fromarray(row[None]).resize((target, 1), filters[kind]))[0]
    first, weights = pillow_weights(size, target, kind)
    padded = np.concatenate([row, np.zeros((weights.shape[1], 3), np.uint8)]).astype(np.int64)
    sums = np.stack([w @ padded[f : f + len(w)] for f, w in zip(first, weights, strict=True)])
    np.testing.assert_array_equal(np.clip((sums + (1 << 21)) >> 22, 0, 255), expected)


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
        # A level here and there is rounded the other way: confidences move a little.
        expect_same(gpu.locate(wrap(image), boxes=[BOX]), expected, tolerance=5e-3)
    assert gpu._backend.memory.uploads == uploads
    taihri = Localizer(bundle_of("taihri"), engines=engines("taihri"))
    expect_same(
        taihri.ask(wrap(image), "Please shake my hand", camera=CAMERA),
        taihri.ask(image, "Please shake my hand", camera=CAMERA),
    )
    bent = Camera(fx=600, fy=600, cx=320, cy=240, width=640, height=480, distortion=(0.1, 0, 0, 0, 0))
    with pytest.raises(InvalidInputError, match="without distortion"):
        taihri.ask(wrap(image), "Please shake my hand", camera=bent)


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
