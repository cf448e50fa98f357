# SPDX-License-Identifier: Apache-2.0
"""Exporting to INT8: from a checkpoint and photographs to answers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import edgepose
from edgepose import Camera, Localizer
from edgepose.backends import onnxruntime as backend
from edgepose.bundle import PRECISIONS, Bundle
from edgepose.cli import main
from edgepose.errors import InvalidInputError
from edgepose.examples import ImageExamples
from edgepose.export import export_bundle
from edgepose.verify import verify_bundle

PERSON = Path(edgepose.__file__).parent / "assets" / "person.jpg"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A photograph, and parts of it."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    image = Image.open(PERSON).convert("RGB").resize((96, 128))
    for number, box in enumerate([(0, 0, 96, 128), (10, 0, 80, 100), (0, 30, 96, 126)]):
        image.crop(box).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        ("locllm", "int8"),
        ("posellm", "int8"),
        ("posellm", "int8-fp16"),
        ("posellm", "int8-half"),
        ("taihri", "int8"),
        ("taihri", "int8-fp16"),
    ],
)
def test_export(
    tmp_path: Path, photographs: Path, request: pytest.FixtureRequest, family: str, precision: str
) -> None:
    checkpoint: Path = request.getfixturevalue(f"{family}_checkpoint")
    stages: dict[str, list[tuple[int, int]]] = {}
    examples = ImageExamples([photographs], focal=500.0)
    report = export_bundle(
        family=family,
        checkpoint=checkpoint,
        out=tmp_path / "bundle",
        precision=precision,
        calibration=examples,
        smoothing=0.6,
        progress=lambda stage, done, total: stages.setdefault(stage, []).append((done, total)),
    )
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.precision == PRECISIONS[precision]
    stored = dict(bundle.manifest.provenance["quantization"])
    assert 0.005 < stored.pop("median_error") < 0.05
    assert stored == {
        "kept_whole": [],
        "quantizer": "symmetric, weights by output, activations by tensor at the largest magnitude",
        "smoothing": 0.6,
        "calibration": {"images": 3, "focal": 500.0},
    }
    assert report.kept_whole == () and report.parity["llm_decoder"]["quantization_error"] > 0
    calls = stages["measure activations"]
    assert calls[-1][0] == calls[-1][1] == bundle.manifest.decoder.layers + 1
    assert verify_bundle(bundle).passed

    # The decoder's weights take a byte each.
    export_bundle(family=family, checkpoint=checkpoint, out=tmp_path / "whole", precision="fp32")
    sizes = [
        Bundle.open(tmp_path / name).manifest.files["llm_decoder.onnx.data"].bytes
        for name in ("bundle", "whole")
    ]
    assert sizes[0] < 0.32 * sizes[1]

    localizer = Localizer(tmp_path / "bundle", threads=1)
    image = np.asarray(Image.open(photographs / "1.png"))
    height, width = image.shape[:2]
    if family == "taihri":
        camera = Camera(500, 500, width / 2, height / 2, width, height)
        (pose,) = localizer.locate(image, camera=camera)
    else:
        (pose,) = localizer.locate(image, boxes=[(0, 0, width, height)])
    assert np.isfinite(pose.xy).all()


def test_is_near_the_whole_model(tmp_path: Path, photographs: Path, posellm_checkpoint: Path) -> None:
    """Nearer than INT4 in the hidden states of the goldens, though random weights make much of little."""
    errors = {
        precision: export_bundle(
            family="posellm",
            checkpoint=posellm_checkpoint,
            out=tmp_path / precision,
            precision=precision,
            calibration=ImageExamples([photographs]) if precision == "int8" else None,
        ).parity["llm_decoder"]["quantization_error"]
        for precision in ("int4", "int8")
    }
    assert errors["int8"] < 0.6 * errors["int4"]


def test_the_same_images_make_the_same_bundle(
    tmp_path: Path, photographs: Path, posellm_checkpoint: Path
) -> None:
    files = []
    for name in ("one", "other"):
        export_bundle(
            family="posellm",
            checkpoint=posellm_checkpoint,
            out=tmp_path / name,
            precision="int8",
            calibration=ImageExamples([photographs]),
        )
        manifest = Bundle.open(tmp_path / name).manifest
        files.append({file: spec.sha256 for file, spec in manifest.files.items() if "llm_decoder" in file})
    assert files[0] == files[1] and files[0]


@pytest.mark.parametrize("precision", ["int8", "int8-fp16", "int8-half"])
def test_asks_for_images(tmp_path: Path, posellm_checkpoint: Path, precision: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"for precision {precision}; got none; .*--calibration"):
        export_bundle(
            family="posellm", checkpoint=posellm_checkpoint, out=tmp_path / "bundle", precision=precision
        )
    assert list(tmp_path.iterdir()) == []


def test_refuses_images_that_nothing_is_measured_on(
    tmp_path: Path, photographs: Path, posellm_checkpoint: Path
) -> None:
    with pytest.raises(InvalidInputError, match=r"no calibration for precision int4.*'images': 3"):
        export_bundle(
            family="posellm",
            checkpoint=posellm_checkpoint,
            out=tmp_path / "bundle",
            precision="int4",
            calibration=ImageExamples([photographs]),
        )
    assert not (tmp_path / "bundle").exists()


def test_leaves_nothing_where_an_image_is_none(
    tmp_path: Path, photographs: Path, posellm_checkpoint: Path
) -> None:
    (photographs / "1.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(InvalidInputError, match=r"1\.png"):
        export_bundle(
            family="posellm",
            checkpoint=posellm_checkpoint,
            out=tmp_path / "bundle",
            precision="int8",
            calibration=ImageExamples([photographs]),
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["photographs"]


def test_refuses_what_float16_cannot_hold(tmp_path: Path, photographs: Path, rewrite: object) -> None:
    """Values of a layer beyond 65504: INT8 would saturate nothing, float16 would."""

    def louder(state: dict[str, torch.Tensor], config: dict[str, object]) -> None:
        for name, tensor in state.items():
            if name.endswith("layers.1.mlp.up_proj.weight"):
                state[name] = tensor.float() * 1e7

    checkpoint = rewrite(louder)  # type: ignore[operator]
    with pytest.raises(
        InvalidInputError, match=r"layers\.1\.mlp\.down_proj to fit the activation type, up to 65504; got "
    ):
        export_bundle(
            family="locllm",
            checkpoint=checkpoint,
            out=tmp_path / "bundle",
            precision="int8-fp16",
            calibration=ImageExamples([photographs]),
        )
    assert not (tmp_path / "bundle").exists()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_command(tmp_path: Path, photographs: Path, posellm_checkpoint: Path) -> None:
    common = ("export", "--family", "posellm", "--checkpoint", posellm_checkpoint, "--precision", "int8")
    out = tmp_path / "bundle"
    done = run(*common, "--out", out, "--calibration", photographs, "--calibration", PERSON)
    assert done.exit_code == 0 and f"wrote {out}" in done.output
    stored = json.loads((out / "bundle.json").read_text(encoding="utf-8"))["provenance"]["quantization"]
    assert stored["calibration"] == {"images": 4, "focal": None} and stored["smoothing"] == 0.7

    for wrong, message in (
        ((), "expected images to measure the ranges of activations on for precision int8; got none"),
        (("--calibration", tmp_path / "none"), "to be an image or a folder of images; got nothing there"),
        (("--calibration", photographs, "--calibration-focal", "0"), "focal length above 0"),
        (("--calibration-focal", "600"), "--calibration: missing beside --calibration-focal"),
        (("--calibration", photographs, "--smoothing", "2"), "2.0 is not in the range 0<=x<=1"),
    ):
        failed = run(*common, "--out", tmp_path / "other", *wrong)
        assert failed.exit_code != 0 and message in " ".join(failed.output.split())
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("machine", "flags", "careful"),
    [
        ("x86_64", "fma avx2", True),
        ("AMD64", None, True),
        ("x86_64", "avx2 avx_vnni", False),
        ("x86_64", "avx512f avx512_vnni", False),
        ("aarch64", None, False),
    ],
)
def test_kernels_that_do_not_saturate(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str | None, careful: bool
) -> None:
    """CPUs whose INT8 products are summed in 16 bits get another kernel."""

    def read_text(path: Path, encoding: str) -> str:
        if flags is None:
            raise FileNotFoundError(path)
        return f"flags\t\t: {flags}\n"

    monkeypatch.setattr(backend.platform, "machine", lambda: machine)
    monkeypatch.setattr(backend.Path, "read_text", read_text)
    assert (_entry(backend.session_options(1), "session.x64quantprecision") == "1") == careful


def _entry(options: onnxruntime.SessionOptions, key: str) -> str | None:
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:  # there is none
        return None
