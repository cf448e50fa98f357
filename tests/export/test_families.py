# SPDX-License-Identifier: Apache-2.0
"""Family descriptions, and checkpoints of another family."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.bundle import FAMILIES as BUNDLE_FAMILIES
from edgepose.errors import InvalidInputError
from edgepose.export.architectures import DINOV2_LLAMA
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.families import FAMILIES, LOCLLM, LOCLLM_3D, POSELLM, TAIHRI, assert_family, family
from edgepose.export.families.codecs import DigitCodec
from edgepose.export.families.questions import KeypointQuestions
from edgepose.export.families.views import CropView
from edgepose.export.prompts import PROMPT_FORMATS
from edgepose.export.weights import derive_config
from edgepose.keypoints import KEYPOINT_SETS


def test_families_are_found_by_name() -> None:
    assert family("locllm") is LOCLLM and family("posellm") is POSELLM and family("taihri") is TAIHRI
    assert set(FAMILIES) == set(BUNDLE_FAMILIES)
    with pytest.raises(InvalidInputError, match="expected one of locllm, posellm, taihri; got 'vitpose'"):
        family("vitpose")


def test_an_answer_in_3d_is_a_description_of_its_own() -> None:
    assert family("locllm", "2d") is LOCLLM and family("locllm", "3d") is LOCLLM_3D
    assert LOCLLM_3D.codec == DigitCodec((3, 3, 6), depth_range_mm=2000.0)
    assert (LOCLLM_3D.codec.answer_tokens, LOCLLM_3D.keypoint_set) == (22, "h36m17")
    assert (LOCLLM.codec.depth_range_mm, LOCLLM_3D.view, LOCLLM_3D.name) == (None, LOCLLM.view, LOCLLM.name)
    assert family("taihri", "3d") is TAIHRI
    with pytest.raises(InvalidInputError, match="taihri was published with, 3d; got '2d'"):
        family("taihri", "2d")
    with pytest.raises(InvalidInputError, match="posellm was published with, 2d; got '3d'; pass --answer"):
        family("posellm", "3d")
    with pytest.raises(InvalidInputError, match="locllm was published with, 2d or 3d; got '4d'"):
        family("locllm", "4d")
    with pytest.raises(InvalidInputError, match="2 linear layers; pass --family posellm"):
        assert_family(LOCLLM_3D, "locllm", 2)


def test_descriptions_are_complete() -> None:
    for name, description in FAMILIES.items():
        assert description.name == name
        assert description.keypoint_set in KEYPOINT_SETS
    for digits in (LOCLLM, POSELLM):
        assert isinstance(digits.questions, KeypointQuestions) and isinstance(digits.view, CropView)
        assert digits.questions.formats[0] == "keypoint"
        assert set(digits.questions.formats) <= set(PROMPT_FORMATS)
        # " [0.ddd,0.ddd]": brackets, comma, and "0." with the decimals of each number
        assert digits.codec.answer_tokens == len("[0.ddd,0.ddd]") == 13
        assert digits.view.scale == 1.0
        assert len(digits.view.mean) == len(digits.view.std) == 3
    assert TAIHRI.options == {"crop", "answer_layout"}
    assert LOCLLM.options == {"keypoint_texts", "prompt_format"}


def test_checkpoints_are_of_their_family(locllm_checkpoint: Path, posellm_checkpoint: Path) -> None:
    for chosen, other, path in ((LOCLLM, POSELLM, locllm_checkpoint), (POSELLM, LOCLLM, posellm_checkpoint)):
        checkpoint = open_checkpoint(path)
        layers = derive_config(checkpoint, DINOV2_LLAMA).connector.layers
        assert_family(chosen, checkpoint.config["model_type"], layers)
        with pytest.raises(InvalidInputError, match=f"pass --family {chosen.name}"):
            assert_family(other, checkpoint.config["model_type"], layers)


def test_a_posellm_checkpoint_may_call_itself_locllm() -> None:
    assert_family(POSELLM, "locllm", 2)
    with pytest.raises(InvalidInputError, match="connector of 2 linear layers; pass --family posellm"):
        assert_family(LOCLLM, "locllm", 2)
    with pytest.raises(
        InvalidInputError, match="2 or more linear layers; got .* 1 linear layer; pass --family locllm"
    ):
        assert_family(POSELLM, "locllm", 1)


@pytest.mark.parametrize("model_type", ["llama", None, 3, "qwen2_vl"])
def test_foreign_checkpoints_have_no_family(model_type: object) -> None:
    with pytest.raises(InvalidInputError, match="no family of this version reads such a checkpoint"):
        assert_family(LOCLLM, model_type, 1)


def test_the_kind_of_model_alone_tells_frames_from_crops() -> None:
    with pytest.raises(
        InvalidInputError, match="model_type locllm with a .*got model_type 'qwen3_vl'; pass .*taihri"
    ):
        assert_family(LOCLLM, "qwen3_vl")
    with pytest.raises(
        InvalidInputError, match="model_type qwen3_vl; got .*; pass --family locllm or posellm"
    ):
        assert_family(TAIHRI, "locllm")
    assert_family(TAIHRI, "qwen3_vl")
