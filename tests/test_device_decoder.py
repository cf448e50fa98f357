# SPDX-License-Identifier: Apache-2.0
"""The decoder on a device against the one on the host: bundles of all families, and NumPy's models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgepose
from edgepose import Camera, Localizer
from edgepose._core import DeviceArray, DeviceDecoder, HostDecoder, HostDevice
from edgepose.errors import InvalidInputError
from edgepose.images import load_image

from .decoder_cases import Case, expect_constrained, expect_exact, make_dims
from .device_backends import HostDeviceBackend, Mode, expect_same, expect_same_answers, on_device
from .numpy_decoder import Sizes, random_model
from .numpy_graphs import NumpyGraphs
from .test_decoder import make

ASSETS = Path(edgepose.__file__).parent / "assets"
DATA = Path(__file__).parent / "data"
BOX = (300.0, 60.0, 220.0, 400.0)
CAMERA = Camera(fx=600, fy=600, cx=320, cy=240, width=640, height=480)

MODES: tuple[Mode, ...] = ("constrained", "exact")


@pytest.fixture
def backend_type() -> type[HostDeviceBackend]:
    """The device; tests/gpu has another."""
    return HostDeviceBackend


@pytest.fixture(scope="module")
def taihri_bundle(taihri_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgepose.export import export_bundle

    bundle = tmp_path_factory.mktemp("device") / "taihri"
    export_bundle(family="taihri", checkpoint=taihri_checkpoint, out=bundle)
    return bundle


@pytest.mark.parametrize("mode", MODES)
def test_a_person_is_located_as_on_the_host(backend_type: type[HostDeviceBackend], mode: Mode) -> None:
    path = DATA / "bundle_v1"
    image = load_image(ASSETS / "person.jpg")
    host = Localizer(path, decode=mode, threads=1)
    for least_slots in (0, 1):
        device, backend = on_device(backend_type, path, mode, least_slots=least_slots)
        expected = host.locate(image, boxes=[BOX])
        for _ in range(3):  # eager, captured, replayed
            expect_same(device.locate(image, boxes=[BOX]), expected)
        assert (backend.loop.captures > 0) == backend.capture


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bundle", ["bundle_v2", "taihri"])
def test_joints_in_metres_are_located_as_on_the_host(
    backend_type: type[HostDeviceBackend], bundle: str, mode: Mode, request: pytest.FixtureRequest
) -> None:
    path = DATA / bundle if bundle == "bundle_v2" else request.getfixturevalue("taihri_bundle")
    image = load_image(ASSETS / "person.jpg")
    host = Localizer(path, decode=mode, threads=1, max_tokens=40)
    device, _ = on_device(backend_type, path, mode, max_tokens=40)  # type: ignore[arg-type]
    for _ in range(3):
        expect_same(
            device.locate(image, keypoints=["neck", "left_wrist"], camera=CAMERA),
            host.locate(image, keypoints=["neck", "left_wrist"], camera=CAMERA),
        )
        expect_same(
            device.ask(image, "Please shake my hand", camera=CAMERA),
            host.ask(image, "Please shake my hand", camera=CAMERA),
        )


def test_penalised_numbers_are_located_as_on_the_host(
    backend_type: type[HostDeviceBackend], taihri_bundle: Path
) -> None:
    image = load_image(ASSETS / "person.jpg")
    host = Localizer(taihri_bundle, threads=1, penalise_numbers=True)
    device, _ = on_device(backend_type, taihri_bundle, "constrained", penalise_numbers=True)
    expect_same(
        device.ask(image, "Give me a hug", camera=CAMERA), host.ask(image, "Give me a hug", camera=CAMERA)
    )


def test_the_built_in_model_answers_nearly_as_on_the_host(backend_type: type[HostDeviceBackend]) -> None:
    """Its decoder rounds what it multiplies to INT8, so sums in another order may tip an answer."""
    image = load_image(ASSETS / "person.jpg")
    device, _ = on_device(backend_type, "posellm-nano", "constrained")
    (found,) = device.locate(image, boxes=[BOX])
    (expected,) = Localizer("posellm-nano", threads=1).locate(image, boxes=[BOX])
    off = np.linalg.norm(found.xy - expected.xy, axis=1)
    assert np.mean(off == 0) > 0.6 and np.median(off) == 0 and np.max(off) < 0.1 * BOX[3]


def test_a_clip_is_tracked_as_on_the_host(backend_type: type[HostDeviceBackend]) -> None:
    image = load_image(ASSETS / "person.jpg")
    frames = [np.roll(image, 2 * shift, axis=1) for shift in range(5)]
    host = Localizer(DATA / "bundle_v1", threads=1)
    device, _ = on_device(backend_type, DATA / "bundle_v1", "constrained")
    for got, expected in zip(device.track(frames, boxes=[BOX]), host.track(frames, boxes=[BOX]), strict=True):
        expect_same(got, expected)
        assert got.drafts == expected.drafts


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("most", [1, 4, 16])
def test_more_keypoints_than_fit_at_once_are_located_in_groups(
    backend_type: type[HostDeviceBackend], mode: Mode, most: int
) -> None:
    path = DATA / "bundle_v1"
    image = load_image(ASSETS / "person.jpg")
    host = Localizer(path, decode=mode, threads=1)
    device, _ = on_device(backend_type, path, mode, most_questions=most)
    expected = host.locate(image, boxes=[BOX])
    groups = -(-len(expected[0]) // most)
    assert groups > 1
    for _ in range(3):  # eager, captured, replayed
        said: list[tuple[int, int]] = []
        got = device.locate(image, boxes=[BOX], progress=lambda _, done, total: said.append((done, total)))  # noqa: B023
        expect_same_answers(got, expected)
        passes = got.passes
        assert (passes.vision, passes.prefix, passes.suffix) == (1, 1, groups)
        assert len(said) == sum(passes.to_json().values())
        if mode == "constrained":
            assert passes.decode == groups * expected.passes.decode
            assert said == [(done, len(said)) for done in range(1, len(said) + 1)]


def test_a_clip_is_tracked_in_groups_as_on_the_host(backend_type: type[HostDeviceBackend]) -> None:
    image = load_image(ASSETS / "person.jpg")
    frames = [np.roll(image, 2 * shift, axis=1) for shift in range(5)]
    host = Localizer(DATA / "bundle_v1", threads=1)
    device, _ = on_device(backend_type, DATA / "bundle_v1", "constrained", most_questions=5)
    accepted = 0
    for got, expected in zip(device.track(frames, boxes=[BOX]), host.track(frames, boxes=[BOX]), strict=True):
        expect_same_answers(got, expected)
        assert got.drafts == expected.drafts
        accepted += got.drafts.accepted
    assert accepted > 0


@pytest.mark.parametrize("most_questions", [0, 6])
def test_a_whole_answer_waits_once_and_keeps_its_memory(
    backend_type: type[HostDeviceBackend], most_questions: int
) -> None:
    image = load_image(ASSETS / "person.jpg")
    device, backend = on_device(backend_type, "posellm-nano", "constrained", most_questions=most_questions)
    for _ in range(3):
        located = device.locate(image, boxes=[BOX])
    assert located.passes.decode > 0
    before = backend.device.counts
    for _ in range(20):
        device.locate(image, boxes=[BOX])
    after = backend.device.counts
    assert after.synchronisations - before.synchronisations == 20
    assert after.allocations == before.allocations
    assert after.bytes == before.bytes
    assert after.captures == before.captures
    assert after.launches == before.launches  # everything is replayed


def test_an_exact_answer_waits_after_each_pass(backend_type: type[HostDeviceBackend]) -> None:
    image = load_image(ASSETS / "person.jpg")
    device, backend = on_device(backend_type, "posellm-nano", "exact")
    for _ in range(3):
        located = device.locate(image, boxes=[BOX], keypoints=["nose"])
    before = backend.device.counts.synchronisations
    device.locate(image, boxes=[BOX], keypoints=["nose"])
    passes = located.passes.suffix + located.passes.decode
    assert backend.device.counts.synchronisations - before == passes


def decoders(case: Case, **options: int) -> tuple[HostDecoder, DeviceDecoder]:
    sizes, head = make_dims(case.model.sizes), case.answers.head
    embeddings = case.model.embeddings.astype(np.float32)
    return (
        HostDecoder(NumpyGraphs(case.model, head), sizes, embeddings, head, case.answers.alphabets),
        DeviceDecoder(
            HostDevice(), NumpyGraphs(case.model, head), sizes, embeddings, head, case.answers.alphabets,
            **options,
        ),
    )  # fmt: skip


def small_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    sizes = Sizes(hidden=16, layers=2, heads=4, kv_heads=2, head_dim=4, vocabulary=50, rope_theta=1e4)
    return make(rng, random_model(sizes, rng, ()))


@pytest.mark.parametrize("seed", range(6))
def test_models_in_numpy_are_decoded_as_without_caches(seed: int) -> None:
    case = small_case(seed).changed(penalty=1.2 if seed % 2 else 1.0, penalise_numbers=seed % 4 == 1)
    _, device = decoders(case)
    for _ in range(3):
        expect_constrained(case, case.decode(device, exact=False))  # type: ignore[arg-type]
        expect_exact(case, case.decode(device, exact=True), 13)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_questions_are_decoded_as_without_caches(seed: int) -> None:
    case = small_case(seed).changed(penalty=1.2 if seed % 2 else 1.0, penalise_numbers=seed % 4 == 1)
    host, _ = decoders(case)
    for most in (1, 2):
        _, device = decoders(case, most_questions=most)
        groups = device.groups(len(case.questions))
        assert groups == -(-len(case.questions) // most) and host.groups(len(case.questions)) == 1
        for exact in (False, True):
            expected = case.decode(host, exact=exact)
            got = case.decode(device, exact=exact)  # type: ignore[arg-type]
            assert [answer.tokens for answer in got.answers] == [answer.tokens for answer in expected.answers]
            assert (got.passes.prefix, got.passes.suffix) == (1, groups)
            drafts = [answer.tokens for answer in expected.answers]
            again = case.decode(device, exact=exact, drafts=drafts)  # type: ignore[arg-type]
            assert [answer.tokens for answer in again.answers] == drafts
            assert again.drafts.accepted == again.drafts.offered > 0


def test_image_rows_on_a_device_are_for_decoders_on_it() -> None:
    case = small_case(1)
    host, device = decoders(case)
    image = np.ascontiguousarray(case.image)
    there = DeviceArray(image.ctypes.data, image.shape, "float32")
    expected = case.decode(host, exact=False)
    got = case.changed(image=there).decode(device, exact=False)  # type: ignore[arg-type]
    assert [answer.tokens for answer in got.answers] == [answer.tokens for answer in expected.answers]
    with pytest.raises(InvalidInputError, match="in host memory"):
        case.changed(image=there).decode(host, exact=False)
    wrong = DeviceArray(image.ctypes.data, image.shape, "float16")
    with pytest.raises(InvalidInputError, match="float16 on a device"):
        case.changed(image=wrong).decode(device, exact=False)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="int8"):
        DeviceArray(0, (1, 2), "int8")
