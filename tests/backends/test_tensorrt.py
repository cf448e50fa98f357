# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend over a library that runs ONNX, and what it says where something is missing."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepose
from edgepose import Camera, Localizer
from edgepose._core import Device
from edgepose.backends import open_backend, tensorrt
from edgepose.backends.engine_contexts import Engines
from edgepose.backends.tensorrt import TensorRtBackend
from edgepose.bundle import ANSWER_HEAD, LM_HEAD, Bundle
from edgepose.engine import EngineManifest
from edgepose.engines.recipe import Shapes
from edgepose.errors import (
    BackendError,
    BackendUnavailableError,
    DecodeError,
    EngineMismatchError,
    InvalidInputError,
)
from edgepose.images import load_image
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.verify import verify_bundle

from ..device_backends import Mode, expect_same, expect_same_answers
from .bundles import bundle_of
from .fake_tensorrt import Context, FakeTensorRtBackend, library, open_fake_engines, traits, write_engines
from .gpu_cases import InterfaceArray

ASSETS = Path(edgepose.__file__).parent / "assets"
BOX = (300.0, 60.0, 220.0, 400.0)
CAMERA = Camera(fx=600, fy=600, cx=320, cy=240, width=640, height=480)


def device_of(localizer: Localizer) -> Device:
    """The device of a localizer's backend."""
    assert isinstance(localizer._backend, TensorRtBackend)
    return localizer._backend._device


def backend_of(localizer: Localizer) -> FakeTensorRtBackend:
    assert isinstance(localizer._backend, FakeTensorRtBackend)
    return localizer._backend


@pytest.mark.parametrize("mode", ["constrained", "exact"])
@pytest.mark.parametrize("family", ["posellm", "older", "taihri"])
@pytest.mark.usefixtures("on_gpu")
def test_answers_are_those_of_the_cpu(family: str, mode: Mode, engines: Callable[[str], Path]) -> None:
    image = load_image(ASSETS / "person.jpg")
    cpu = Localizer(bundle_of(family), decode=mode, threads=1, max_tokens=20)
    gpu = Localizer(bundle_of(family), decode=mode, engines=engines(family), max_tokens=20)
    for _ in range(3):
        if family == "taihri":
            expect_same(
                gpu.locate(image, keypoints=["neck"], camera=CAMERA),
                cpu.locate(image, keypoints=["neck"], camera=CAMERA),
            )
        else:
            expect_same(gpu.locate(image, boxes=[BOX]), cpu.locate(image, boxes=[BOX]))


@pytest.mark.usefixtures("on_gpu")
def test_answers_of_an_exported_checkpoint_are_those_of_the_cpu(
    locllm_checkpoint: Path, tmp_path: Path
) -> None:
    from edgepose.export import export_bundle

    export_bundle(family="locllm", checkpoint=locllm_checkpoint, out=tmp_path / "bundle")
    write_engines(Bundle.open(tmp_path / "bundle"), tmp_path / "engines")
    image = load_image(ASSETS / "person.jpg")
    cpu = Localizer(tmp_path / "bundle", threads=1)
    gpu = Localizer(tmp_path / "bundle", engines=tmp_path / "engines")
    for _ in range(3):
        expect_same(gpu.locate(image, boxes=[BOX]), cpu.locate(image, boxes=[BOX]))


@pytest.mark.usefixtures("on_gpu")
def test_a_command_and_a_clip_fit_the_profiles(engines: Callable[[str], Path]) -> None:
    image = load_image(ASSETS / "person.jpg")
    cpu, gpu = (
        Localizer(bundle_of("taihri"), threads=1, **options)  # type: ignore[arg-type]
        for options in ({}, {"engines": engines("taihri")})
    )
    command = "Please shake my hand"
    expect_same(gpu.ask(image, command, camera=CAMERA), cpu.ask(image, command, camera=CAMERA))
    cpu, gpu = (
        Localizer(bundle_of("posellm"), threads=1, **options)  # type: ignore[arg-type]
        for options in ({}, {"engines": engines("posellm")})
    )
    frames = [np.roll(image, 3 * shift, axis=1) for shift in range(6)]
    for got, expected in zip(gpu.track(frames, boxes=[BOX]), cpu.track(frames, boxes=[BOX]), strict=True):
        expect_same(got, expected)


@pytest.mark.usefixtures("on_gpu")
def test_progress_counts_replays_too(engines: Callable[[str], Path]) -> None:
    image = load_image(ASSETS / "person.jpg")
    gpu = Localizer(bundle_of("posellm"), engines=engines("posellm"))
    for _ in range(4):
        said: list[tuple[int, int]] = []
        gpu.locate(image, boxes=[BOX], progress=lambda stage, done, total: said.append((done, total)))  # noqa: B023
        assert [done for done, _ in said] == list(range(1, said[0][1] + 1))


@pytest.mark.usefixtures("on_gpu")
def test_a_replay_is_what_the_engines_would_do_anyway(engines: Callable[[str], Path]) -> None:
    image = load_image(ASSETS / "person.jpg")
    bundle = Bundle.open(bundle_of("posellm"))
    replayed, eager = (Localizer(bundle_of("posellm"), engines=engines("posellm")) for _ in range(2))
    eager._backend = tensorrt.TensorRtBackend(bundle, engines("posellm"), capture=False)
    eager._decoder = eager._backend.decoder(eager._questions.alphabets, exact=False)
    for shift in range(5):
        frame = np.roll(image, 5 * shift, axis=1)
        got, expected = (each.locate(frame, boxes=[BOX]) for each in (replayed, eager))
        expect_same(got, expected)
    assert device_of(replayed).counts.replays > 0
    assert device_of(eager).counts.replays == 0


@pytest.mark.usefixtures("on_gpu")
def test_many_frames_take_no_more_memory_than_a_few(
    engines: Callable[[str], Path], soak_frames: int, free_bytes: Callable[[Localizer], int]
) -> None:
    image = load_image(ASSETS / "person.jpg")
    gpu = Localizer(bundle_of("posellm"), engines=engines("posellm"))
    frames = [np.roll(image, 7 * shift, axis=1) for shift in range(4)]
    for frame in frames:
        first = gpu.locate(frame, boxes=[BOX])
    before, free = device_of(gpu).counts, free_bytes(gpu)
    for number in range(soak_frames):
        last = gpu.locate(frames[number % 4], boxes=[BOX])
    after = device_of(gpu).counts
    assert (after.bytes, after.allocations, after.captures) == (
        before.bytes,
        before.allocations,
        before.captures,
    )
    assert after.synchronisations - before.synchronisations == soak_frames
    assert free_bytes(gpu) >= free
    assert soak_frames % 4 == 0
    expect_same(last, first)


def test_engines_that_are_loaded_later_find_enough_scratch_memory(engines: Callable[[str], Path]) -> None:
    bundle = Bundle.open(bundle_of("posellm"))
    opened = open_fake_engines(bundle, engines("posellm"))
    held = Engines(opened.library, opened.manifest, opened.directory, opened.memory, None)
    sizes = []
    for graph in (LM_HEAD, ANSWER_HEAD):  # in the order of what the stand-in says they need
        held.load(graph)
        spec = bundle.manifest.decoder
        hidden = opened.memory.allocate(spec.hidden * 4)
        context = held.context(graph, {"hidden": (hidden, (1, spec.hidden))}, {})
        for tensor, shape in held.output_shapes(graph, context):
            context.set_tensor_address(tensor.name, opened.memory.allocate(int(np.prod(shape)) * 4))
        held.enqueue(graph, context)
        opened.memory.check()  # every context writes to all of its scratch memory
        sizes.append(opened.manifest.components[graph].device_memory)
    assert sizes[0] < sizes[1]


class RefusingContext(Context):
    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        raise RuntimeError("Error in set optimization profile async.")  # as TensorRT's bindings do


def test_what_the_bindings_raise_is_told_like_what_they_return(
    engines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(bundle_of("posellm"))
    opened = open_fake_engines(bundle, engines("posellm"))
    refusing = library(context=RefusingContext)
    held = Engines(refusing, opened.manifest, opened.directory, opened.memory, None)
    held.load(LM_HEAD)
    with pytest.raises(BackendError, match="expected a context of lm_head for .*; got: no reason given"):
        held.context(LM_HEAD, {"hidden": (256, (1, bundle.manifest.decoder.hidden))}, {})

    def nothing(logger: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(refusing.module, "Runtime", nothing)
    with pytest.raises(BackendError, match="expected tensorrt 10.3.0 to start; .* update the GPU's driver"):
        Engines(refusing, opened.manifest, opened.directory, opened.memory, None)


@pytest.mark.parametrize("integrated", [False, True])
def test_inputs_are_copied_where_memory_is_not_shared_only(
    integrated: bool,
    on_gpu: type[FakeTensorRtBackend],
    engines: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_gpu, "gpu", traits(integrated=integrated))
    image = load_image(ASSETS / "person.jpg")
    gpu = Localizer(bundle_of("posellm"), engines=engines("posellm"))
    backend = backend_of(gpu)
    for _ in range(3):
        gpu.locate(image, boxes=[BOX], keypoints=["nose"])
    held, device = backend.memory.bytes, backend._device.counts
    contexts, uploads = backend.counts["contexts"], backend.memory.uploads
    for _ in range(30):
        gpu.locate(image, boxes=[BOX], keypoints=["nose"])
    assert backend.memory.bytes == held
    assert backend._device.counts.bytes == device.bytes
    assert backend._device.counts.allocations == device.allocations
    assert backend.counts["contexts"] == contexts
    assert backend._device.counts.synchronisations - device.synchronisations == 30
    # Where the GPU sees pinned memory, nothing is copied.
    assert backend.memory.uploads - uploads == (0 if integrated else 30)


def changed(directory: Path, target: Path, **platform: Any) -> Path:
    """A copy of an engine directory with another platform."""
    target.mkdir()
    for file in directory.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = EngineManifest.read(target)
    dataclasses.replace(manifest, platform=dataclasses.replace(manifest.platform, **platform)).write(target)
    return target


@pytest.mark.usefixtures("on_gpu")
def test_engines_of_something_else_are_refused_with_every_difference(
    engines: Callable[[str], Path], tmp_path: Path
) -> None:
    other = changed(
        engines("posellm"), tmp_path / "other", compute_capability="8.6", cuda="11.4", arch="riscv"
    )
    with pytest.raises(EngineMismatchError) as refused:
        Localizer(bundle_of("posellm"), engines=other)
    message = str(refused.value)
    assert "arch: expected riscv" in message and "edgepose build" in message
    other = changed(engines("posellm"), tmp_path / "another", compute_capability="8.6", cuda="11.4")
    with pytest.raises(EngineMismatchError) as refused:
        Localizer(bundle_of("posellm"), engines=other)
    for line in ("compute_capability: expected 8.6; got 8.7", "cuda (major): expected 11; got 12"):
        assert line in str(refused.value)
    with pytest.raises(EngineMismatchError, match="bundle.family: expected posellm; got taihri"):
        Localizer(bundle_of("taihri"), engines=engines("posellm"))


@pytest.mark.usefixtures("on_gpu")
def test_a_damaged_engine_is_refused(engines: Callable[[str], Path], tmp_path: Path) -> None:
    broken = changed(engines("posellm"), tmp_path / "broken")
    engine = broken / "llm_decoder.engine"
    engine.write_bytes(engine.read_bytes()[:-9])
    with pytest.raises(EngineMismatchError, match="truncated"):
        Localizer(bundle_of("posellm"), engines=broken)
    # One that its sidecar vouches for, but the library does not take.
    manifest = EngineManifest.read(engines("posellm"))
    component = manifest.components["llm_decoder"]
    engine.write_bytes(b"no engine")
    from edgepose.file_hash import hash_file

    other = dataclasses.replace(component, bytes=9, sha256=hash_file(engine))
    dataclasses.replace(manifest, components=dict(manifest.components) | {"llm_decoder": other}).write(broken)
    with pytest.raises(BackendError, match="llm_decoder.engine to load; got: magic tag"):
        Localizer(bundle_of("posellm"), engines=broken)


@pytest.mark.usefixtures("on_gpu")
def test_more_keypoints_than_the_engines_batch_are_located_in_groups(engines: Callable[[str], Path]) -> None:
    image = load_image(ASSETS / "person.jpg")
    cpu = Localizer(bundle_of("posellm"), threads=1)
    gpu = Localizer(bundle_of("posellm"), engines=engines("posellm"))
    names = list(DEFAULT_TEXTS)[:20]
    expected = cpu.locate(image, boxes=[BOX], keypoints=names)
    assert len(expected[0]) == 20 > len(cpu.locate(image, boxes=[BOX])[0])
    for _ in range(3):  # eager, captured, replayed
        before = device_of(gpu).counts
        got = gpu.locate(image, boxes=[BOX], keypoints=names)
        expect_same_answers(got, expected)
        passes = got.passes
        assert (passes.vision, passes.prefix, passes.suffix) == (1, 1, 2)
        assert passes.decode == 2 * expected.passes.decode
    assert device_of(gpu).counts.synchronisations - before.synchronisations == 1
    frames = [np.roll(image, 3 * shift, axis=1) for shift in range(4)]
    tracks = (each.track(frames, boxes=[BOX], keypoints=names) for each in (gpu, cpu))
    for got, expected in zip(*tracks, strict=True):
        expect_same_answers(got, expected)
        assert got.drafts == expected.drafts


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("mode", ["constrained", "exact"])
def test_engines_for_one_question_answer_any_number(mode: Mode, tmp_path: Path) -> None:
    write_engines(
        Bundle.open(bundle_of("posellm")),
        tmp_path / "one",
        shapes=Shapes(images=1, extra_tokens=8, questions=1),
    )
    image = load_image(ASSETS / "person.jpg")
    cpu = Localizer(bundle_of("posellm"), decode=mode, threads=1)
    gpu = Localizer(bundle_of("posellm"), decode=mode, engines=tmp_path / "one")
    for names in (["nose", "left wrist", "right wrist"], ["nose"]):
        got, expected = (each.locate(image, boxes=[BOX], keypoints=names) for each in (gpu, cpu))
        expect_same_answers(got, expected)
        assert (got.passes.prefix, got.passes.suffix) == (1, len(names))


@pytest.mark.usefixtures("on_gpu")
def test_longer_questions_than_the_engines_were_built_for_are_refused(tmp_path: Path) -> None:
    write_engines(
        Bundle.open(bundle_of("posellm")), tmp_path / "short", shapes=Shapes(images=1, extra_tokens=0)
    )
    localizer = Localizer(bundle_of("posellm"), engines=tmp_path / "short")
    image = load_image(ASSETS / "person.jpg")
    long = {"thumb": "The tip of the thumb. " * 20, "heel": "The end of the foot. " * 20}
    with pytest.raises(DecodeError, match="for which the engines were built"):
        localizer.locate(image, boxes=[BOX], keypoints=long)
    localizer.locate(image, boxes=[BOX], keypoints=["nose"])  # and goes on


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("family", ["posellm", "taihri"])
def test_stages_are_parts_of_the_whole_time(family: str, engines: Callable[[str], Path]) -> None:
    image = load_image(ASSETS / "person.jpg")
    gpu = Localizer(bundle_of(family), engines=engines(family))
    for _ in range(4):  # eager, captured, replayed
        if family == "taihri":
            timings = gpu.ask(image, "Please shake my hand", camera=CAMERA).timings_ms
        else:
            timings = gpu.locate(image, boxes=[BOX]).timings_ms
        stages = [timings[stage] for stage in ("preprocess", "vision", "prefix", "suffix", "decode")]
        assert min(stages) > 0
        assert sum(stages) <= timings["total"] * 1.01
        assert timings["graphs"] == pytest.approx(sum(stages[1:]))


@pytest.mark.parametrize("where", ["host", "gpu"])
def test_vision_is_timed_on_the_gpu(
    where: str,
    on_gpu: type[FakeTensorRtBackend],
    engines: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = load_image(ASSETS / "person.jpg")
    frame = InterfaceArray(image) if where == "gpu" else image
    monkeypatch.setattr(on_gpu, "engine_seconds", 100.0)
    gpu = Localizer(bundle_of("posellm"), engines=engines("posellm"))
    for _ in range(4):  # eager, captured, replayed
        timings = gpu.locate(frame, boxes=[BOX]).timings_ms
        # Encoder and connector, but nothing of the decoder, whose engines are as late.
        assert 200_000 <= timings["vision"] < 250_000
        assert timings["graphs"] == pytest.approx(
            sum(timings[stage] for stage in ("vision", "prefix", "suffix", "decode"))
        )
    monkeypatch.setattr(on_gpu, "engine_seconds", 0.0)
    assert gpu.locate(frame, boxes=[BOX, BOX]).timings_ms["vision"] < 50_000


def test_backends_say_which_engines_they_take(engines: Callable[[str], Path]) -> None:
    bundle = Bundle.open(bundle_of("posellm"))
    with pytest.raises(InvalidInputError, match="expected engines for tensorrt; got none; build them with"):
        open_backend("tensorrt", bundle)
    with pytest.raises(InvalidInputError, match="no engines for onnxruntime"):
        open_backend("onnxruntime", bundle, engines=engines("posellm"))
    with pytest.raises(InvalidInputError, match='built for tensorrt; pass backend="tensorrt"'):
        open_backend("tensorrt_rtx", bundle, engines=engines("posellm"))
    with pytest.raises(InvalidInputError, match="'cuda'"):
        open_backend("cuda", bundle)  # type: ignore[arg-type]
    with pytest.raises(EngineMismatchError, match="no such directory"):
        open_backend("auto", bundle, engines="nowhere")


def test_a_missing_library_is_named(engines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepose.tensorrt_library import load_library

    load_library.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailableError, match="python3-libnvinfer"):
        Localizer(bundle_of("posellm"), engines=engines("posellm"))
    load_library.cache_clear()


def test_missing_kernels_and_a_missing_gpu_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepose.backends.tensorrt import open_device

    if importlib.util.find_spec("edgepose._cuda") is not None:
        from edgepose import _cuda

        try:
            _cuda.CudaDevice(0)
        except BackendUnavailableError as error:
            assert "driver" in str(error) and "JetPack" in str(error)
        with pytest.raises(BackendUnavailableError, match="GPU 99"):
            _cuda.CudaDevice(99)
    monkeypatch.setitem(sys.modules, "edgepose._cuda", None)
    monkeypatch.delattr(edgepose, "_cuda", raising=False)
    with pytest.raises(BackendUnavailableError, match="built where nvcc is found"):
        open_device()


def test_a_missing_cuda_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepose.backends.gpu_memory import load_cuda

    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailableError, match="cuda-python==12"):
        load_cuda()


def test_the_older_cuda_python_is_taken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    from edgepose.backends.gpu_memory import load_cuda

    older = types.ModuleType("cuda.cudart")
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "cuda.cudart", older)
    assert load_cuda() is older


def test_cuda_python_takes_the_arguments_that_it_is_given() -> None:
    """Without a driver every call fails, but by an error of CUDA's, not by one of Python's."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    try:
        if not int(runtime.cudaGetDeviceCount()[0]):
            pytest.skip("there is a GPU: tests/gpu uses it")
        refusal, closes = r"\[cuda\] expected cuda\w+ to succeed; got error \d+", True
    except RuntimeError:  # of cuda-python 12.6, which misses the driver's library by itself
        refusal, closes = r'libcuda\.so|Function "cu\w+" not found', False
    from edgepose.backends.gpu_memory import CudaMemory

    device = types.SimpleNamespace(stream=0, traits=traits())
    memory = CudaMemory(device)
    memory._captures.append(0)
    memory._device_memory.append(256)
    page = np.zeros(16, np.uint8)
    calls: list[Callable[[], object]] = [
        lambda: memory.allocate(16),
        lambda: memory.free(256),
        lambda: memory.pinned(16),
        lambda: memory.upload(256, page),
        lambda: memory.download(page, 256),
        lambda: memory.wait_for(1),
        lambda: memory.capture(lambda: None),
        lambda: memory.replay(0),
        lambda: memory.mark(0),
        memory.synchronise,
        lambda: memory._call("cudaMemsetAsync", 256, 0, 16, 0),
        lambda: memory._call("cudaHostGetDevicePointer", 256, 0),
        lambda: memory._call("cudaEventRecord", 0, 1),
        lambda: memory._call("cudaEventElapsedTime", 0, 0),
        lambda: memory._call("cudaStreamWaitEvent", 0, 0, 0),
        lambda: memory._call("cudaStreamEndCapture", 0),
        lambda: memory._call("cudaGraphInstantiate", 0, 0),
        lambda: memory._call("cudaGraphDestroy", 0),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=refusal):
            call()
    memory._device_memory, memory._host_memory = [256], [256]
    if closes:
        memory.close()


def test_what_is_asked_of_the_library_is_there() -> None:
    """What the fake library offers is what the real one has; engines themselves need a GPU."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    for owner, names in (
        (trt.Runtime, ("deserialize_cuda_engine",)),
        (
            trt.ICudaEngine,
            ("create_execution_context", "create_runtime_config", "device_memory_size_v2"),
        ),
        (
            trt.IRuntimeConfig,
            (
                "set_execution_context_allocation_strategy",
                "dynamic_shapes_kernel_specialization_strategy",
            ),
        ),
        (trt.ExecutionContextAllocationStrategy, ("USER_MANAGED",)),
        (trt.DynamicShapesKernelSpecializationStrategy, ("EAGER",)),
        (
            trt.IExecutionContext,
            (
                "set_optimization_profile_async",
                "set_input_shape",
                "set_tensor_address",
                "set_device_memory",
                "get_tensor_shape",
                "execute_async_v3",
            ),
        ),
    ):
        assert [name for name in names if not hasattr(owner, name)] == [], owner


def test_real_engines_get_as_far_as_the_gpu(tmp_path: Path) -> None:
    """Built by TensorRT-RTX, read, checked, library loaded; then there is no GPU to run on."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    from edgepose.backends.tensorrt import open_device
    from edgepose.engines.build import build_engines

    try:
        open_device()
    except BackendUnavailableError as error:
        missing = str(error)
    else:
        pytest.skip("there is a GPU: tests/gpu uses it")
    build_engines(bundle_of("older"), "rtx-ci", out=tmp_path / "engines")
    with pytest.raises(BackendUnavailableError) as refused:
        Localizer(bundle_of("older"), engines=tmp_path / "engines")
    assert str(refused.value) == missing
    with pytest.raises(BackendUnavailableError) as refused:
        verify_bundle(bundle_of("older"), engines=tmp_path / "engines")
    assert str(refused.value) == missing


def test_the_backend_is_the_one_that_is_tested() -> None:
    assert issubclass(FakeTensorRtBackend, TensorRtBackend)
