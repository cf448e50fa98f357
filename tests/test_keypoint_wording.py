# SPDX-License-Identifier: Apache-2.0
"""The package's wording: complete, and its own."""

from __future__ import annotations

import json
from pathlib import Path

from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.keypoints import COCO17, H36M17, KEYPOINT_SETS, MPII16


def test_every_keypoint_of_every_set_is_described() -> None:
    assert len(DEFAULT_TEXTS) == 24
    for chosen in (COCO17, MPII16, H36M17):
        assert set(chosen.keypoints) <= set(DEFAULT_TEXTS)
    described = [text.description for text in DEFAULT_TEXTS.values()]
    asked = [text.question for text in DEFAULT_TEXTS.values()]
    assert len(set(described)) == len(set(asked)) == 24 and None not in asked
    for name, text in DEFAULT_TEXTS.items():
        assert name == text.name
        assert text.description.startswith(f"The {name} ") and text.description.endswith(".")
        assert text.description.isascii()


def test_wording_is_our_own_and_orders_are_the_published(shared_data: Path) -> None:
    published = json.loads((shared_data / "locllm_keypoint_texts.json").read_text(encoding="utf-8"))
    for name, order in published["keypoint_orders"].items():
        assert KEYPOINT_SETS[name].keypoints == tuple(order)
    assert set(DEFAULT_TEXTS) == set(published["keypoints"])
    sentences = {" ".join(t.lower().split()) for k in published["keypoints"].values()
                 for t in (k["description"], *k["questions"])}  # fmt: skip
    for text in DEFAULT_TEXTS.values():
        assert text.description.lower() not in sentences
        assert text.asked.lower() not in sentences
