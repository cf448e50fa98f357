# SPDX-License-Identifier: Apache-2.0
"""Cameras: their numbers, projection and distortion against OpenCV, crops, calibration files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.frame import FocalFrame

PLAIN = Camera(600, 610, 330, 235, 640, 480)
PINHOLE = Camera(438.78, 437.3, 305.59, 243.73, 640, 480, (-0.361976, 0.11051, 0.001014, 0.000505, 0.0))
RATIONAL = Camera(610.4, 610.2, 640.9, 365.2, 1280, 720, (0.5, -2.6, 4e-4, -3e-4, 1.5, 0.38, -2.4, 1.4))
FISHEYE = Camera(290, 291, 320.5, 240, 640, 480, (-0.02, 0.005, -0.003, 0.0005), "fisheye")
CAMERAS = {"plain": PLAIN, "pinhole": PINHOLE, "rational": RATIONAL, "fisheye": FISHEYE}


def test_numbers_become_those_of_python() -> None:
    camera = Camera(np.float32(600), 610, np.float64(330), 235, np.int64(640), 480, np.zeros(5))
    assert camera == dataclasses.replace(PLAIN, distortion=[0.0] * 5) and hash(camera)
    assert camera.distortion == (0.0,) * 5 and not camera.is_distorted
    assert isinstance(camera.fx, float) and isinstance(camera.width, int)
    assert camera.size == (640, 480) and PLAIN.distortion == ()
    assert PINHOLE.is_distorted and dataclasses.replace(PLAIN, model="fisheye").is_distorted


def test_an_image_of_another_size_is_refused() -> None:
    PLAIN.check_image((640, 480))
    with pytest.raises(
        InvalidInputError, match=r"camera's 640x480 px; got 320x240 px; .*resized\(320, 240\)"
    ):
        PLAIN.check_image((320, 240))
    with pytest.raises(InvalidInputError, match="got 480x640 px"):
        PINHOLE.undistort(np.zeros((640, 480, 3), np.uint8))


def test_from_matrix() -> None:
    assert Camera.from_matrix(PINHOLE.matrix, 640, 480, distortion=PINHOLE.distortion) == PINHOLE
    assert np.array_equal(PLAIN.matrix, [[600, 0, 330], [0, 610, 235], [0, 0, 1]])


# Projection and distortion.


def grid(camera: Camera, margin: float = 0.0) -> Any:
    x = np.linspace(margin * camera.width, (1 - margin) * camera.width - 1, 17)
    y = np.linspace(margin * camera.height, (1 - margin) * camera.height - 1, 13)
    return np.stack(np.meshgrid(x, y), axis=-1)


def opencv_projection(camera: Camera, xyz: Any) -> Any:
    project = cv2.fisheye.projectPoints if camera.model == "fisheye" else cv2.projectPoints
    coefficients = np.array(camera.distortion or (0.0,) * 4)
    return project(xyz[:, None], np.zeros(3), np.zeros(3), camera.matrix, coefficients)[0].reshape(-1, 2)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_projection_is_that_of_opencv(camera: Camera) -> None:
    z = np.random.default_rng(1).uniform(0.3, 4, 17 * 13)
    rays = (grid(camera, 0.1).reshape(-1, 2) - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    xyz = np.column_stack([rays * z[:, None], z])
    np.testing.assert_allclose(camera.project(xyz), opencv_projection(camera, xyz), atol=1e-9)
    assert camera.project(xyz.reshape(13, 17, 3)).shape == (13, 17, 2)
    assert camera.project(np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_what_is_not_in_front_is_not_seen(camera: Camera) -> None:
    seen = camera.project([[0, 0, 1], [0.1, 0, 0], [0.1, 0, -1], [math.nan, 0, 1], [0, 0, math.nan]])
    np.testing.assert_allclose(seen[0], [camera.cx, camera.cy])
    assert np.isnan(seen[1:]).all()
    with pytest.raises(InvalidInputError, match=r"shape \(..., 3\); got \(2,\)"):
        camera.project([1.0, 2.0])


def test_a_polynomial_does_not_fold_the_world_into_the_image() -> None:
    """With k1 = -0.3 alone the radius grows to tan = 1.054 and falls again: at 1.8 OpenCV is back inside."""
    camera = Camera(300, 300, 320, 240, 640, 480, (-0.3, 0, 0, 0))
    point = np.array([[1.8, 0.0, 1.0]])
    assert opencv_projection(camera, point)[0, 0] < 640
    assert np.isnan(camera.project(point)).all()
    assert np.isfinite(camera.project([[1.05, 0.0, 1.0]])).all()


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_distortion_there_and_back(camera: Camera) -> None:
    pixels = grid(camera)
    straight = camera.undistort_points(pixels)
    assert np.isfinite(straight).all()
    np.testing.assert_allclose(camera.distort_points(straight), pixels, atol=1e-6)
    rays = (straight - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    xyz = np.concatenate([rays, np.ones((13, 17, 1))], axis=-1)
    np.testing.assert_allclose(camera.project(xyz * 2.5), pixels, atol=1e-6)
    assert np.isnan(camera.undistort_points([math.nan, 5.0])).any()


def test_undistortion_is_that_of_opencv() -> None:
    for camera in (PINHOLE, FISHEYE):
        undistort = cv2.fisheye.undistortPoints if camera.model == "fisheye" else cv2.undistortPoints
        pixels = grid(camera, 0.25)
        expected = undistort(
            pixels.reshape(-1, 1, 2), camera.matrix, np.array(camera.distortion), R=np.eye(3), P=camera.matrix
        )
        np.testing.assert_allclose(camera.undistort_points(pixels).reshape(-1, 2), expected[:, 0], atol=0.05)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.25, 0.3),
    st.floats(-0.02, 0.05),
    st.tuples(*[st.floats(-2e-3, 2e-3)] * 2),
    st.sampled_from(["pinhole", "fisheye"]),
    st.tuples(st.floats(0, 639), st.floats(0, 479)),
)
def test_any_lens_there_and_back(
    k1: float, k2: float, rest: tuple[float, float], model: Any, pixel: tuple[float, float]
) -> None:
    camera = Camera(600, 600, 320, 240, 640, 480, (k1, k2, *rest), model)
    straight = camera.undistort_points(pixel)
    np.testing.assert_allclose(camera.distort_points(straight), pixel, atol=0.02)


def test_pixels_that_no_ray_reaches() -> None:
    """The radius of this lens grows to 0.662; the corner of the image is at 0.667."""
    camera = Camera(600, 600, 320, 240, 640, 480, (-0.297, -0.047, 0, 0))
    straight = camera.undistort_points([[0, 0], [2, 240], [320, 240]])
    assert np.isnan(straight[0]).all() and np.isfinite(straight[1:]).all()


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_undistorted_images_show_spots_where_undistorted_points_are(camera: Camera) -> None:
    y, x = np.mgrid[: camera.height, : camera.width]
    for spot in ((200.0, 150.0), (430.0, 320.0)):
        glow = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 4.0**2))
        image = np.repeat(glow.round().astype(np.uint8)[..., None], 3, axis=2)
        seen = camera.undistort(image)[..., 0].astype(float)
        center = np.array([(x * seen).sum(), (y * seen).sum()]) / seen.sum()
        np.testing.assert_allclose(center, camera.undistort_points(spot), atol=0.4)
    expected = cv2.undistort(image, camera.matrix, np.array(camera.distortion))
    if camera.model == "pinhole":
        assert np.abs(camera.undistort(image).astype(int) - expected).max() <= 8


def test_a_straight_lens_leaves_images_alone() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    assert PLAIN.undistort(image) is image
    assert np.array_equal(PLAIN.undistort_points([1.0, 2.0]), [1.0, 2.0])


# Cut-outs and resized images.


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_cut_outs_and_resized_images_show_the_same_world(camera: Camera) -> None:
    xyz = np.array([[0.1, -0.2, 1.5], [-0.3, 0.1, 0.9]])
    xy = camera.project(xyz)
    np.testing.assert_allclose(camera.crop(30, 40, 200, 100).project(xyz), xy - (30, 40))
    half = camera.resized(camera.width // 2, camera.height * 2)
    np.testing.assert_allclose(half.project(xyz), (xy + 0.5) * (0.5, 2) - 0.5)
    assert half.size == (camera.width // 2, camera.height * 2)


def test_resizing_is_that_of_opencv() -> None:
    y, x = np.mgrid[:480, :640]
    spot = np.array([401.0, 122.0])
    glow = (255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 6.0**2))).astype(np.float32)
    small = cv2.resize(glow, (320, 160), interpolation=cv2.INTER_AREA)
    v, u = np.mgrid[:160, :320]
    seen = np.array([(u * small).sum(), (v * small).sum()]) / small.sum()
    ray = [(spot[0] - PLAIN.cx) / PLAIN.fx, (spot[1] - PLAIN.cy) / PLAIN.fy, 1.0]
    np.testing.assert_allclose(PLAIN.resized(320, 160).project(ray), seen, atol=0.02)


def test_a_cut_out_may_be_far_from_the_principal_point() -> None:
    camera = Camera(1400, 1400, 960, 540, 1920, 1080).crop(1800, 900, 100, 100)
    assert camera.cropped and (camera.cx, camera.cy) == (-840, -360)
    assert camera.crop(10, 10, 20, 20).resized(40, 40).cropped
    frame = FocalFrame(camera.size, (camera.fx, camera.fy), (camera.cx, camera.cy))
    assert frame.principal_offset[0] < -600
    with pytest.raises(InvalidInputError, match="width of at least 1 px; got 0"):
        camera.crop(0, 0, 0, 10)
    with pytest.raises(InvalidInputError, match="height in whole pixels; got 2.5"):
        camera.resized(10, 2.5)  # type: ignore[arg-type]


# Calibration files.

ROS = """image_width: 640
image_height: 480
camera_name: head_camera
camera_matrix:
  rows: 3
  cols: 3
  data: [438.78, 0, 305.59, 0.000000, 437.3, 243.73, 0.000000, 0.000000, 1.000000]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.361976, 0.110510, 0.001014, 0.000505, 0.000000]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
"""


def test_ros_calibration(tmp_path: Path) -> None:
    path = tmp_path / "head.yaml"
    path.write_text(ROS)
    assert Camera.from_yaml(path) == Camera.from_yaml(str(path)) == PINHOLE
    path.write_text("# written by hand\n---\n" + ROS.replace("\n", "\r\n"))
    assert Camera.from_yaml(path) == PINHOLE


def test_ros_calibration_as_pyyaml_writes_it(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    path = tmp_path / "head.yaml"
    for style in (None, True, False):
        path.write_text(yaml.safe_dump(yaml.safe_load(ROS), default_flow_style=style))
        assert Camera.from_yaml(path) == PINHOLE


@pytest.mark.parametrize(
    ("name", "numbers", "model"),
    [
        ("rational_polynomial", RATIONAL.distortion, "pinhole"),
        ("equidistant", FISHEYE.distortion, "fisheye"),
        ("plumb_bob", (0.0,) * 5, "pinhole"),
    ],
)
def test_ros_distortion_models(tmp_path: Path, name: str, numbers: Any, model: str) -> None:
    path = tmp_path / "head.yaml"
    text = ROS.replace("plumb_bob", name)
    path.write_text(text.replace("-0.361976, 0.110510, 0.001014, 0.000505, 0.000000", str([*numbers])[1:-1]))
    camera = Camera.from_yaml(path)
    assert camera.model == model and camera.distortion == pytest.approx(numbers)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
@pytest.mark.parametrize("suffix", ["yml", "yaml"])
def test_opencv_calibration(tmp_path: Path, camera: Camera, suffix: str) -> None:
    path = tmp_path / f"camera.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("calibration_time", "Mon 24 Nov 2026 10:00:00 AM")
    storage.write("image_width", camera.width)
    storage.write("image_height", camera.height)
    if camera.model == "fisheye":
        storage.write("fisheye_model", 1)
    storage.write("camera_matrix", camera.matrix)
    if camera.distortion:
        storage.write("distortion_coefficients", np.array([camera.distortion]).T)
    storage.write("avg_reprojection_error", 0.3)
    storage.release()
    assert Camera.from_yaml(path) == camera


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (ROS, "", "expected a camera_matrix in .*; got entries of no kind"),
        (ROS, "joint: 3\n", "expected a camera_matrix in .*; got entries joint"),
        (ROS, "foo: [1, 2\nbar", "expected a calibration in YAML"),
        (ROS, "{", "expected a calibration in YAML|expected a camera_matrix"),
        ("image_width: 640\n", "", "expected image_width, a whole number of pixels"),
        ("image_height: 480", "image_height: tall", "expected image_height"),
        ("plumb_bob", "kannala", "distortion_model out of .*equidistant.*; got 'kannala'"),
        ("0.000505, ", "0, 0, ", "expected 4, 5, 8, 12, 14 finite .* got 6"),
        ("438.78, 0, ", "438.78, ", "camera_matrix with 9 numbers .*; got 8"),
        ("438.78, 0", "wide, 0", "expected camera_matrix of numbers"),
        ("438.78, 0", "4.3878, 0", r"got fx 4.3878.*\(from '.*head.yaml'\)"),
        ("305.59", ".nan", "expected a matrix|cx to be a finite|camera_matrix of numbers"),
    ],
)
def test_unusable_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "head.yaml"
    assert old in ROS
    path.write_text(ROS.replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=message):
        Camera.from_yaml(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="got '.*nowhere.yaml': .*No such file"):
        Camera.from_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidInputError, match="a directory"):
        Camera.from_yaml(tmp_path)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(InvalidInputError, match="expected a readable YAML file"):
        Camera.from_yaml(tmp_path / "binary")
