# SPDX-License-Identifier: Apache-2.0
"""Where the digits of an answer look: the same scores as inside the layer, and the loss on them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgepose.export.models import llama  # noqa: E402
from edgepose.training.pointing import OwnPlace, WatchedAttention, own_places, pointer_loss  # noqa: E402
from edgepose.training.posellm.crops import CropSource, Mixture, normalise  # noqa: E402
from edgepose.training.posellm.model import answer_logits  # noqa: E402
from edgepose.training.posellm.task import AnswersTask  # noqa: E402

from .tiny_nano import TINY, dot_pictures  # noqa: E402


def make(**options: Any) -> AnswersTask:
    data = Mixture([(CropSource(dot_pictures(4), augmentation=None, cropped=True), 1.0)])
    return AnswersTask(TINY, data, {}, size=42, batch=2, seed=0, questions=2, **options)


def test_scores_are_those_of_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make()
    model, book = task.model.model, task.book
    given = []
    attend = llama.attend
    monkeypatch.setattr(llama, "attend", lambda q, k, v, a: given.append((q, k)) or attend(q, k, v, a))
    names = torch.tensor([[2, 0], [20, 7]])
    ids = book.pack(names, torch.rand(2, 2, 2)).ids
    image = torch.randn(2, book.patches, 64)
    with torch.no_grad(), WatchedAttention(model.decoder.layers[1].self_attn) as watched:
        answer_logits(model, book, image, names, ids)
        scores = watched.scores(book.digit_places(names), book.image_places, 2)
    query, key = given[1]
    inside = query[:, :2] @ key[:, :2].transpose(-1, -2) / query.shape[-1] ** 0.5
    for row, places in enumerate(book.digit_places(names)):
        expected = inside[row][:, places][:, :, book.image_places]
        torch.testing.assert_close(scores[row], expected, rtol=1e-5, atol=1e-6)
    assert not model.decoder.layers[1].self_attn._forward_pre_hooks


def test_loss_counts_asked_questions_alone() -> None:
    targets = torch.eye(3)[None, :2].expand(2, -1, -1)  # (B 2, Q 2, S 3)
    scores = torch.zeros(2, 1, 2 * 6, 3)
    scores[0, 0, :6, 0] = 100.0  # the first question of the first image looks where it should
    asked = torch.tensor([[True, False], [False, False]])
    assert pointer_loss(scores, targets, asked) == pytest.approx(0.0, abs=1e-6)
    both = pointer_loss(scores, targets, torch.tensor([[True, True], [False, False]]))
    assert both == pytest.approx(0.5 * torch.log(torch.tensor(3.0)).item())


def test_loss_with_weights_of_one_is_the_published_one() -> None:
    task = make(places_weight=0.0)
    crops, names = task.batch(torch.Generator().manual_seed(0))
    names[1] = torch.tensor([0, -1])
    parts = task.loss((crops, names))
    xy = crops.joints[..., :2].gather(1, names.clamp(min=0)[..., None].expand(-1, -1, 2))
    packed = task.book.pack(names, xy)
    image = task.model.model.encode_image(normalise(crops))
    logits = answer_logits(task.model.model, task.book, image, names, packed.ids)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 2), packed.labels.flatten())
    torch.testing.assert_close(parts["loss"], expected)
    assert set(parts) == {"loss", "answers", "samples"}
    weighted = make(pointer_weight=1.0, own_place_weight=1.0, digit_weights=(2.0, 1.0, 0.0), form_weight=0.5)
    assert {"answers", "pointer", "own place", "places"} < set(weighted.loss((crops, names)))


def test_image_embeddings_are_asked_for_their_own_place() -> None:
    head, places = OwnPlace(2), own_places(3, 3)
    torch.nn.init.eye_(head.weight)
    torch.nn.init.zeros_(head.bias)
    assert head.loss(places[None], 3, 3).item() == 0
    assert head.loss(torch.zeros(1, 9, 2), 3, 3).item() == pytest.approx(1.0)
    assert places[1, 0] == 0 < places[2, 0] and places[3, 1] == 0 < places[8, 1]
