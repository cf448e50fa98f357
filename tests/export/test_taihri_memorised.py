# SPDX-License-Identifier: Apache-2.0
"""A small TAIHRI that has learnt one answer by heart: what happens where a model keeps to the form.

Trained and saved by transformers, so its checkpoint is in the layout that this library writes.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import PIL.Image  # noqa: E402

import edgepose  # noqa: E402
from edgepose import SMPL22, Camera, Localizer  # noqa: E402
from edgepose.bundle import BinCodecSpec, read_manifest  # noqa: E402
from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export import export_bundle  # noqa: E402
from edgepose.export.random_checkpoint import QWEN3_VL_SIZES, write_random_checkpoint  # noqa: E402
from edgepose.probe import probe_layout  # noqa: E402

from ..taihri_oracle import TaihriOracle, focal_frame  # noqa: E402

PERSON = Path(edgepose.__file__).parent / "assets" / "person.jpg"
JOINTS = SMPL22.groups["upper_body"]
BOX = (101, 52, 877, 963)
TWO_D = {
    "left_shoulder": (261, 630),
    "right_shoulder": (702, 611),
    "left_elbow": (188, 633),
    "right_elbow": (7, 8),
}
THREE_D = {
    "left_shoulder": (394, 559, 416),
    "right_shoulder": (622, 561, 402),
    "left_elbow": (333, 712, 377),
    "right_elbow": (640, 718, 999),
}
QUESTION = (
    "Can you provide the 2D and 3D coordinates of the following keypoints of the person: "
    "left_shoulder, right_shoulder, left_elbow, right_elbow?"
)
STEPS = 200


def answer_text() -> str:
    """The answer with the blanks and commas of the form that the published parser documents."""
    two, three = (
        " ".join(f"<|{name}|> " + ", ".join(f"<{number}>" for number in found[name]) for name in JOINTS)
        for found in (TWO_D, THREE_D)
    )
    box = "".join(f"<{number}>" for number in BOX)
    return (
        f"<|box_start|>{box}<|box_end|> <|kpt2d_start|> {two} <|kpt2d_end|> "
        f"<|kpt3d_start|> {three} <|kpt3d_end|><|im_end|>"
    )


@dataclass(frozen=True)
class Learnt:
    bundle: Path
    camera: Camera
    answer: list[int]
    generated: list[int]
    """What `generate` says: greedy, with the published repetition penalty."""
    prompt: list[int]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learnt]:
    work = tmp_path_factory.mktemp("memorised")
    size = dataclasses.replace(QWEN3_VL_SIZES["small"], max_pixels=96 * 1024, tied=False)
    first = write_random_checkpoint(work / "random", family="taihri", size=size, dtype="float32")
    oracle = TaihriOracle(first)
    image = PIL.Image.open(PERSON).convert("RGB")
    focal = float(max(image.size))
    camera = Camera(focal, focal, image.width / 2, image.height / 2, *image.size)
    seen = focal_frame(image, focal)
    inputs = oracle.inputs(seen, QUESTION)
    answer = oracle.tokenizer.encode(answer_text(), add_special_tokens=False)
    _learn(oracle.model, inputs, answer)
    generated = oracle.answer(seen, QUESTION, len(answer) + 5)
    learnt = work / "learnt"
    oracle.model.save_pretrained(learnt)
    for file in first.iterdir():
        if not (learnt / file.name).exists() and "safetensors" not in file.name:
            shutil.copy(file, learnt)
    export_bundle(family="taihri", checkpoint=learnt, out=work / "bundle", precision="fp32")
    yield Learnt(work / "bundle", camera, answer, generated, inputs["input_ids"][0].tolist())


def _learn(model: Any, inputs: dict[str, Any], answer: list[int]) -> None:
    """Fine-tunes until each token leads by more than a repetition penalty can take away."""
    torch.manual_seed(0)
    target = torch.tensor([answer])
    start = inputs["input_ids"].shape[1]
    given = dict(inputs)
    for name, fill in (("input_ids", target), ("attention_mask", torch.ones_like(target))):
        given[name] = torch.cat((inputs[name], fill), dim=1)
    if "mm_token_type_ids" in inputs:
        types = inputs["mm_token_type_ids"]
        given["mm_token_type_ids"] = torch.cat((types, torch.zeros_like(target, dtype=types.dtype)), dim=1)
    model.model.visual.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(STEPS):
        logits = model(**given).logits[0, start - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, target[0])
        if loss.item() < 2e-3:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"the answer was not learnt: loss {loss.item():.3f}")


def test_generate_says_the_answer(learnt: Learnt) -> None:
    assert learnt.generated == learnt.answer


def test_a_probe_learns_blanks_and_commas(learnt: Learnt) -> None:
    codec = read_manifest(learnt.bundle).codec
    assert isinstance(codec, BinCodecSpec) and codec.layout.source == "default"
    layout = probe_layout(learnt.bundle)
    assert layout is not None and layout.source == "probe" and layout.blocks == ("box", "kpt2d", "kpt3d")
    assert layout.between_numbers and layout.after_name and not layout.between_box_numbers
    after = read_manifest(learnt.bundle).codec
    assert isinstance(after, BinCodecSpec) and after.layout == layout


@pytest.mark.parametrize("decode", ["exact", "constrained"])
def test_both_modes_give_the_learnt_places(learnt: Learnt, decode: Any) -> None:
    probe_layout(learnt.bundle)
    located = Localizer(learnt.bundle, decode=decode).locate(PERSON, keypoints=JOINTS, camera=learnt.camera)
    (pose,) = located
    assert list(pose.token_ids) == learnt.answer
    assert list(pose.prompt_ids) == learnt.prompt
    assert pose.text == answer_text()
    assert pose.names == JOINTS
    # One pass a number; exact mode needs one more, which sees what follows the last number.
    numbers = 4 + 5 * len(JOINTS)
    assert located.passes.decode == (numbers if decode == "exact" else numbers - 1)
    frame = 1000 * np.array(learnt.camera.size) // max(learnt.camera.size)
    for name in JOINTS:
        share = np.array(THREE_D[name]) / 999
        # Pillow and the published code drop fractions of a pixel of the frame.
        np.testing.assert_allclose(pose[name].xyz, share * (5, 5, 4) - (2.5, 2.5, 0), atol=4e-3)
        expected = np.array(TWO_D[name]) / 999 * frame * max(learnt.camera.size) / 1000
        np.testing.assert_allclose(pose[name].xy, expected, atol=0.5)
        assert pose[name].confidence > 0.9
        assert np.all(pose[name].xyz_std < 0.3)
        assert pose[name].valid == (name != "right_elbow")  # its depth stands at the far end


def test_a_model_that_says_something_else_teaches_nothing(learnt: Learnt, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(learnt.bundle, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["prompt"]["asked"] = "What is the weather like? {names}"
    (copy / "bundle.json").write_text(json.dumps(manifest))
    before = (copy / "bundle.json").read_text()
    if probe_layout(copy) is None:
        assert (copy / "bundle.json").read_text() == before


def test_bundles_without_blocks_have_nothing_to_learn() -> None:
    with pytest.raises(InvalidInputError, match="answers stand in blocks; got one of posellm"):
        probe_layout(Path(__file__).parents[1] / "data" / "bundle_v1")
