# SPDX-License-Identifier: Apache-2.0
"""Family descriptions, and checkpoints of another family."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.families import FAMILIES, LOCLLM, LOCLLM_3D, POSELLM, assert_family, family
from edgepose.export.prompts import PROMPT_FORMATS
from edgepose.export.weights import derive_config
from edgepose.keypoints import KEYPOINT_SETS


def test_families_are_found_by_name() -> None:
    assert family("locllm") is LOCLLM and family("posellm") is POSELLM
    with pytest.raises(InvalidInputError, match="expected one of locllm, posellm; got 'taihri'"):
        family("taihri")


def test_an_answer_in_3d_is_a_description_of_its_own() -> None:
    assert family("locllm", "2d") is LOCLLM and family("locllm", "3d") is LOCLLM_3D
    assert (LOCLLM_3D.codec_places, LOCLLM_3D.answer_tokens) == ((3, 3, 6), 22)
    assert (LOCLLM_3D.depth_range_mm, LOCLLM_3D.keypoint_set) == (2000.0, "h36m17")
    assert (LOCLLM.depth_range_mm, LOCLLM_3D.crop, LOCLLM_3D.name) == (None, LOCLLM.crop, LOCLLM.name)
    with pytest.raises(InvalidInputError, match="posellm was published with, 2d; got '3d'; pass --answer"):
        family("posellm", "3d")
    with pytest.raises(InvalidInputError, match="locllm was published with, 2d or 3d; got '4d'"):
        family("locllm", "4d")
    with pytest.raises(InvalidInputError, match="2 linear layers; pass --family posellm"):
        assert_family(LOCLLM_3D, "locllm", 2)


def test_descriptions_are_complete() -> None:
    for name, description in FAMILIES.items():
        assert description.name == name
        assert description.default_prompt_format == "keypoint"
        assert set(description.prompt_formats) <= set(PROMPT_FORMATS)
        assert description.keypoint_set in KEYPOINT_SETS
        # " [0.ddd,0.ddd]": brackets, comma, and "0." with the decimals of each number
        places = description.codec_places
        assert description.answer_tokens == 2 + sum(2 + p for p in places) + len(places) - 1 == 13
        assert description.crop.scale == 1.0
        assert len(description.crop.mean) == len(description.crop.std) == 3


def test_checkpoints_are_of_their_family(locllm_checkpoint: Path, posellm_checkpoint: Path) -> None:
    for chosen, other, path in ((LOCLLM, POSELLM, locllm_checkpoint), (POSELLM, LOCLLM, posellm_checkpoint)):
        checkpoint = open_checkpoint(path)
        layers = derive_config(checkpoint).connector.layers
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


@pytest.mark.parametrize("model_type", ["llama", None, 3, "qwen3_vl"])
def test_foreign_checkpoints_have_no_family(model_type: object) -> None:
    with pytest.raises(InvalidInputError, match="no family of this version reads such a checkpoint"):
        assert_family(LOCLLM, model_type, 1)
