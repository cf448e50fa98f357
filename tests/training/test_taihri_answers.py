# SPDX-License-Identifier: Apache-2.0
"""Answers and commands of the 3-D model in training, against the runtime's codec and the written form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgepose._core import Answer, BlockCodec, Choice  # noqa: E402
from edgepose.skeleton import SMPL22  # noqa: E402
from edgepose.training.taihri.commands import COMMANDS, corpus, draw_joints, draw_wording  # noqa: E402
from edgepose.training.taihri.language import Language  # noqa: E402

from ..answer_forms import BlockForm  # noqa: E402
from .small_taihri import small_taihri  # noqa: E402

BOX = (0.1, 0.2, 0.5, 1.0)
JOINTS = (20, 3, 16)
XY = {20: (0.261, 0.63), 3: (0.0, 1.0), 16: (0.5, 0.25)}
XYZ = {20: (0.3944, 0.5596, 0.4164), 3: (0.0, 1.0, 0.5), 16: (0.1, 0.2, 0.3)}


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Language:
    return Language.open(small_taihri(tmp_path_factory.mktemp("taihri")))


def test_bins_are_rounded_over_the_published_ranges(language: Language) -> None:
    written = language.format.write(BOX, JOINTS, XY, XYZ)
    bins = {token: number for number, token in enumerate(language.codec.bins)}
    numbers = [bins[token] for token in written.ids if token in bins]
    assert numbers[:4] == [100, 200, 500, 999]
    assert numbers[4:6] == [261, 629]
    # The example of the published parser: bins (394, 559, 416) are (-0.5280, 0.2978, 1.6657) m.
    assert numbers[10:13] == [394, 559, 416]
    low, high = (
        np.array([span[end] for span in (language.codec.x, language.codec.y, language.codec.z)])
        for end in (0, 1)
    )
    metres = low + np.array(numbers[10:13]) / 999 * (high - low)
    np.testing.assert_allclose(metres, (-0.5280, 0.2978, 1.6657), atol=5e-5)


@pytest.mark.parametrize("free", [True, False])
def test_answers_keep_to_the_form_of_the_runtime(language: Language, free: bool) -> None:
    codec = language.codec
    form = BlockForm(
        codec.bins,
        tuple(codec.joints.values()),
        codec.markers,
        codec.end,
        codec.layout.blocks,
        asked=None if free else JOINTS,
    )
    written = language.format.write(BOX, JOINTS, XY, XYZ)
    for length, token in enumerate(written.ids):
        place = form(written.ids[:length])
        assert place is not None and token in place.allowed
        assert place.numbers == (written.shares[length] == written.shares[length])
    assert form(written.ids) is None
    assert len(written.ids) == 11 + 7 * len(JOINTS)
    forced = language.format.places(JOINTS)
    assert [
        token if share != share else None for token, share in zip(written.ids, written.shares, strict=True)
    ] == forced


def test_the_runtime_reads_what_is_written(language: Language) -> None:
    codec = language.codec
    written = language.format.write(BOX, JOINTS, XY, XYZ)
    theirs = BlockCodec(
        bins=codec.bins,
        joints=list(codec.joints.values()),
        markers=codec.markers,
        end=codec.end,
        blocks=codec.layout.blocks,
        separators=codec.layout.separators,
    ).read(Answer([Choice(token) for token in written.ids], True))
    ours = language.format.read(written.ids)
    assert ours.whole and tuple(ours.xy) == tuple(ours.xyz) == JOINTS
    assert [number.value for number in theirs.box] == pytest.approx(ours.box)
    assert [point.joint for point in theirs.points] == list(JOINTS)
    for point in theirs.points:
        assert [number.value for number in point.xy] == pytest.approx(ours.xy[point.joint])
        assert [number.value for number in point.xyz] == pytest.approx(ours.xyz[point.joint])


def test_broken_answers_count_as_far_as_they_go(language: Language) -> None:
    format_, marker = language.format, language.codec.markers
    ids = list(format_.write(BOX, JOINTS, XY, XYZ).ids)
    assert format_.read([]).box == ()
    assert not format_.read(ids[:-1]).whole and len(format_.read(ids[:-1]).xyz) == 3
    assert not format_.read([*ids, ids[-1]]).whole
    cut = format_.read(ids[: ids.index(marker["kpt3d_start"]) + 6])
    assert list(cut.xy) == list(JOINTS) and list(cut.xyz) == [20]
    twice = [*ids[:10], *ids[7:10], *ids[10:]]
    assert list(format_.read(twice).xy) == [20]
    swapped = format_.write(BOX, (3, 20, 16), XY, XYZ).ids
    half = ids.index(marker["kpt3d_start"])
    assert not format_.read([*ids[:half], *swapped[half:]]).whole  # other joints, or another order, in space
    assert not format_.read(ids[6:]).whole


def test_commands_are_many_and_name_joints() -> None:
    assert len(COMMANDS) >= 36
    wordings = [wording for command in COMMANDS for wording in command.wordings]
    assert len(set(wordings)) == len(wordings) > 90
    generator = torch.Generator().manual_seed(0)
    for command in COMMANDS:
        texts = set()
        for _ in range(12):
            text, joints = draw_wording(command, generator)
            assert "{" not in text and text[0].isupper()
            assert joints and len(set(joints)) == len(joints) and set(joints) <= set(SMPL22.keypoints)
            sides = {joint.split("_")[0] for joint in joints}
            for side, other in itertools.permutations(("left", "right")):
                assert not (command.sided and f" {side} " in text and other in sides)
            texts.add(text)
        assert len(texts) > 2
    joints = draw_wording(COMMANDS[0], generator)[1]
    assert joints == ("right_wrist", "right_elbow", "right_shoulder")


def test_joints_are_asked_for_in_any_order() -> None:
    generator = torch.Generator().manual_seed(0)
    allowed = ["head", "left_wrist", "right_wrist", "neck"]
    drawn = [draw_joints(generator, allowed, favoured=0.5, most=3) for _ in range(200)]
    assert {len(names) for names in drawn} == {1, 2, 3}
    assert all(len(set(names)) == len(names) and set(names) <= set(allowed) for names in drawn)
    assert ["right_wrist", "left_wrist"] in drawn and ["left_wrist", "right_wrist"] in drawn
    assert draw_joints(generator, ["head"], favoured=1.0, most=9) == ["head"]


def test_the_tokenizer_knows_the_words(language: Language) -> None:
    asked = language.asked(["left_wrist", "right_elbow"])
    assert asked.endswith("of the person: left_wrist, right_elbow?")
    assert len(language.suffix(asked)) < 35
    generator = torch.Generator().manual_seed(1)
    lengths = [len(language.suffix(draw_wording(command, generator)[0])) for command in COMMANDS]
    assert max(lengths) < 30
    assert any("wrist" in text for text in corpus(asked))
