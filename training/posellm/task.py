# SPDX-License-Identifier: Apache-2.0
"""The two tasks of a compact PoseLLM: to see where keypoints are, and to answer questions about them.

Budgets and the order of the tasks belong to the recipe.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepose.export.models import PoseModel
from edgepose.export.tokenizer import load_tokenizer
from edgepose.keypoint_wording import DEFAULT_TEXTS
from edgepose.training.pointing import (
    POINTING_HEADS,
    POINTING_LAYER,
    OwnPlace,
    WatchedAttention,
    pointer_loss,
)
from edgepose.training.posellm.checkpoint import load_weights, save_checkpoint
from edgepose.training.posellm.crops import NAMES, CropBatch, Mixture, normalise
from edgepose.training.posellm.model import answer_logits, greedy_answers, initialise, nano_config
from edgepose.training.posellm.places import PlacesHead, place_loss, soft_targets
from edgepose.training.posellm.questions import IGNORED, QuestionBook
from edgepose.training.posellm.scores import torso_pck
from edgepose.training.posellm.vocabulary import write_tokenizer

__all__ = ["AnswersTask", "PlacesTask"]


class _Whole(nn.Module):
    """The model and the head beside it, for one optimizer."""

    def __init__(self, model: PoseModel, head: PlacesHead) -> None:
        super().__init__()
        self.model, self.head = model, head


class _Lesson:
    """What both tasks share: the model, its files, and crops to train and to validate on."""

    name = ""

    def __init__(
        self,
        nano: Mapping[str, Any],
        data: Mixture,
        validation: Mapping[str, CropBatch],
        *,
        size: int,
        batch: int,
        seed: int,
    ) -> None:
        """
        Args:
            nano: What `edgepose.training.nano.load_nano` read.
            data: Crops to train on.
            validation: Crops to validate on, by name.
            size: Side of the crops, pixels.
            batch: Crops of a batch.
            seed: Of new weights.
        """
        with tempfile.TemporaryDirectory() as folder:
            vocabulary = write_tokenizer(Path(folder), vocabulary=nano["vocabulary"])
            self.tokenizer = load_tokenizer(folder)
        self._nano = nano
        self._data, self._validation = data, validation
        self._size, self._batch = size, batch
        config = nano_config(nano, vocabulary, size=size)
        self._pose = PoseModel(config)
        self._head = PlacesHead(config.vision.hidden, config.vision.grid)
        self.model: Any = _Whole(self._pose, self._head)
        initialise(self._pose, seed)
        nn.init.zeros_(self._head.linear.weight)
        nn.init.zeros_(self._head.linear.bias)

    @property
    def _device(self) -> torch.device:
        return self._head.linear.weight.device

    def _crops(self, generator: torch.Generator) -> CropBatch:
        return self._data.batch(self._batch, self._size, generator)

    def save(self, folder: Path) -> Path:
        """See `edgepose.training.loop.Task`; the head goes into a file of its own beside the checkpoint."""
        write_tokenizer(folder, vocabulary=self._nano["vocabulary"])
        save_checkpoint(self._pose, folder)
        torch.save(self._head.state_dict(), folder / "places_head.pt")
        return folder

    def load(self, folder: Path) -> None:
        """See `edgepose.training.loop.Task`."""
        load_weights(self._pose, folder)
        head = folder / "places_head.pt"
        if head.is_file():
            self._head.load_state_dict(torch.load(head, weights_only=True))


class PlacesTask(_Lesson):
    """Teaches the encoder alone: which patch holds which keypoint."""

    name = "places"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in (self._pose.connector, self._pose.decoder, self._pose.lm_head):
            part.requires_grad_(False)

    def batch(self, generator: torch.Generator) -> CropBatch:
        """See `edgepose.training.loop.Task`."""
        return self._crops(generator)

    def loss(self, batch: CropBatch) -> dict[str, Tensor]:
        """See `edgepose.training.loop.Task`."""
        batch = batch.to(self._device)
        logits = self._head(self._pose.vision(normalise(batch)))
        loss = place_loss(logits, batch.joints, self._head.grid)
        return {"loss": loss, "samples": torch.tensor(len(batch.joints))}

    def evaluate(self) -> dict[str, float]:
        """See `edgepose.training.loop.Task`."""
        found = {}
        for name, crops in self._validation.items():
            on_device = crops.to(self._device)
            logits = self._head(self._pose.vision(normalise(on_device)))
            found[f"{name} loss"] = float(place_loss(logits, on_device.joints, self._head.grid))
            found[f"{name} PCK@0.2"] = torso_pck(self._head.read(logits), on_device.joints)
        return found


class AnswersTask(_Lesson):
    """Trains all parts with the published objective, all questions of an image in one sequence."""

    name = "answers"

    def __init__(
        self,
        *args: Any,
        questions: int = 14,
        asked: int | None = None,
        places_weight: float = 0.2,
        pointer_weight: float = 0.0,
        own_place_weight: float = 0.0,
        digit_weights: Sequence[float] = (1.0, 1.0, 1.0),
        form_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """As the base, and:

        Args:
            questions: Questions of one image at most.
            asked: Crops of a batch that are asked questions; the others teach the encoder alone, for a
                third of the work. Default: all.
            places_weight: Weight of the loss of the patches beside that of the answers.
            pointer_weight: Weight of the loss of where the digits look; see `edgepose.training.pointing`.
            own_place_weight: Weight of the loss of what image embeddings say of their own place; likewise.
            digit_weights: Weights of the first, second and third decimal in the loss of the answers.
            form_weight: Weight of all other tokens; with 1 everywhere the loss is the published one.
        """
        super().__init__(*args, **kwargs)
        self._questions, self._places_weight = questions, places_weight
        self._asked = list(range(0, self._batch, max(1, self._batch // (asked or self._batch))))
        self._pointer_weight, self._own_place_weight = pointer_weight, own_place_weight
        config = self._pose.config
        if own_place_weight:
            self.model.own_place = OwnPlace(config.decoder.hidden)
        self._digit_weights, self._form_weight = list(digit_weights), form_weight
        texts = [DEFAULT_TEXTS[name] for name in NAMES]
        self.book = QuestionBook(self.tokenizer, texts, patches=self._pose.config.vision.patches)
        self.model.book = self.book

    def batch(self, generator: torch.Generator) -> tuple[CropBatch, Tensor]:
        """See `edgepose.training.loop.Task`; with (A, Q) numbers of the questions to the crops that are
        asked, -1 in empty slots."""
        crops = self._crops(generator)
        return crops, _choose(crops.joints[self._asked], self._questions, generator)

    def loss(self, batch: tuple[CropBatch, Tensor]) -> dict[str, Tensor]:
        """See `edgepose.training.loop.Task`."""
        crops, names = batch[0].to(self._device), batch[1].to(self._device)
        features = self._pose.vision(normalise(crops))
        asked, number = crops.joints[self._asked], names.clamp(min=0).unsqueeze(-1)
        packed = self.book.pack(names, asked[..., :2].gather(1, number.expand(-1, -1, 2)))
        image = self._pose.connector(features[self._asked])
        layer: Any = self._pose.decoder.layers[POINTING_LAYER]
        with WatchedAttention(layer.self_attn) as watched:
            logits = answer_logits(self._pose, self.book, image, names, packed.ids)
        parts = {"answers": self._answer_loss(logits, packed.labels)}
        loss = parts["answers"]
        if self._pointer_weight:
            scores = watched.scores(self.book.digit_places(names), self.book.image_places, POINTING_HEADS)
            targets = soft_targets(asked, self._head.grid)
            targets = targets.gather(1, number.expand(-1, -1, targets.shape[-1]))
            parts["pointer"] = pointer_loss(scores, targets, names >= 0)
            loss = loss + self._pointer_weight * parts["pointer"]
        if self._own_place_weight:
            parts["own place"] = self.model.own_place.loss(image, self._head.grid, self._head.grid)
            loss = loss + self._own_place_weight * parts["own place"]
        if self._places_weight:
            parts["places"] = place_loss(self._head(features), crops.joints, self._head.grid)
            loss = loss + self._places_weight * parts["places"]
        return {"loss": loss, **parts, "samples": torch.tensor(len(crops.joints))}

    def _answer_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = functional.cross_entropy(
            logits.flatten(0, 2).float(), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        weights = each.new_full((labels.shape[-1],), self._form_weight)
        weights[self.book.free] = weights.new_tensor(self._digit_weights * 2)
        counted = (labels != IGNORED) * weights
        return (each.view_as(labels) * weights).sum() / counted.sum().clamp(min=1e-6)

    def evaluate(self) -> dict[str, float]:
        """See `edgepose.training.loop.Task`."""
        found = {}
        for name, crops in self._validation.items():
            on_device = crops.to(self._device)
            names = torch.arange(len(NAMES), device=self._device).expand(len(crops.joints), -1)
            features = self._pose.vision(normalise(on_device))
            answered = greedy_answers(self._pose, self.book, self._pose.connector(features), names)
            found[f"{name} PCK@0.2"] = torso_pck(answered, on_device.joints)
            seen = self._head.read(self._head(features))
            found[f"{name} places PCK@0.2"] = torso_pck(seen, on_device.joints)
        return found


def _choose(joints: Tensor, questions: int, generator: torch.Generator) -> Tensor:
    """(B, questions) numbers of known keypoints in random order, -1 where there are no more."""
    order = torch.rand(joints.shape[:2], generator=generator) + 10 * (joints[..., 2] <= 0)
    values, numbers = order.sort(dim=1)
    return numbers.masked_fill(values >= 10, -1)[:, :questions]
