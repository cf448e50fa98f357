# SPDX-License-Identifier: Apache-2.0
"""Supervised fine-tuning: the loss on right answers, several questions for each frame.

The loop that runs it is `edgepose.training.loop`; where frames come from is in `scenes` and `store`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgepose.skeleton import SMPL22
from edgepose.training.pointing import POINTING_HEADS, POINTING_LAYER, OwnPlace, WatchedAttention
from edgepose.training.taihri.checkpoint import open_model, save_checkpoint
from edgepose.training.taihri.decoding import locate
from edgepose.training.taihri.frames import Frames, cut_out, mirrored, normal_levels, patches_of
from edgepose.training.taihri.language import Language
from edgepose.training.taihri.lessons import LessonMix, draw_trees
from edgepose.training.taihri.model import FrameRows, TaihriModel
from edgepose.training.taihri.packing import Packed, pack
from edgepose.training.taihri.row_head import RowHead, spread_over_cells

__all__ = [
    "Lesson",
    "SupervisedRecipe",
    "SupervisedTask",
    "answer_loss",
    "evaluate_arms",
    "joints_of",
    "supervised_task",
]

_HEADS_FILE = "heads.safetensors"
"""Beside a checkpoint: what is thrown away in the end, for the next run."""

_ARMS = tuple(dict.fromkeys((*SMPL22.groups["left_arm"], *SMPL22.groups["right_arm"])))
"""Joints that validation asks for; the shoulders and elbows among them are the upper body."""


@dataclass(frozen=True, slots=True)
class SupervisedRecipe:
    """Numbers of a stage of training."""

    frames: int = 16
    """In one batch."""
    answered: int = 16
    """Frames of these with questions; 0 trains the encoder alone."""
    mix: LessonMix = LessonMix()
    spread: float = 2.0
    """Standard deviation, in bins, of what is taught around each number; 0 teaches the one bin."""
    row_weight: float = 0.5
    """Weight of the head on the image rows beside the answers."""
    pointer_weight: float = 0.3
    """Weight of the loss of where the numbers of a joint look; see `edgepose.training.pointing`."""
    own_place_weight: float = 0.1
    """Weight of the loss of what image embeddings say of their own place; likewise."""
    window: tuple[int, int] | None = None
    """Height and width of the part of each frame that is used, pixels of the model's input; None for all."""
    mirror: bool = True
    """Whether half of the frames are mirrored."""
    jitter: float = 0.2
    """Largest change of brightness and contrast of each colour channel."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One batch."""

    frames: Frames
    """B frames of one size; without their pixels on a device."""
    patches: Tensor
    """(B, P, 3 * patch_size**2)."""
    packed: Packed | None
    """Questions about the first frames; None where there are none."""
    answered: int
    """How many these are."""


class SupervisedTask:
    """A task of `edgepose.training.loop`; what is trained is the model and a head that is thrown away."""

    def __init__(
        self,
        name: str,
        start: Path,
        recipe: SupervisedRecipe,
        draw: Callable[[int, torch.Generator], Frames],
        validation: Sequence[Frames],
    ) -> None:
        """
        Args:
            name: For the log.
            start: Checkpoint to begin with.
            recipe: The stage's numbers.
            draw: Gives so many random frames of one size, on the CPU.
            validation: Frames, those of each entry of one size.

        Raises:
            InvalidInputError: The checkpoint is not that of a TAIHRI.
        """
        self.name, self.recipe = name, recipe
        self._start, self._draw, self._validation = start, draw, list(validation)
        pose, self.language = open_model(start)
        rows = RowHead(pose.config.decoder.hidden, len(self.language.joints))
        own_place = OwnPlace(pose.config.decoder.hidden)
        self.model: nn.Module = nn.ModuleDict({"pose": pose, "rows": rows, "own_place": own_place})
        self._load_heads(start)

    @property
    def pose(self) -> TaihriModel:
        """The model itself."""
        return cast(TaihriModel, self.model["pose"])  # type: ignore[index]

    @property
    def head(self) -> RowHead:
        """The head that is thrown away."""
        return cast(RowHead, self.model["rows"])  # type: ignore[index]

    @property
    def _names(self) -> Tensor:
        """(joints, hidden): embeddings of the joints' tokens."""
        return self.pose.decoder.embed_tokens.weight[list(self.language.format.joints)]

    def batch(self, generator: torch.Generator) -> Lesson:
        """See `edgepose.training.loop.Task`."""
        frames = self._draw(self.recipe.frames, generator)
        if self.recipe.mirror:
            frames = _half_mirrored(frames, generator)
        if self.recipe.window is not None:
            whole = frames.pixels.shape[1:3]
            height, width = (min(pair) for pair in zip(self.recipe.window, whole, strict=True))
            frames = cut_out(frames, height, width, self.language.view, self.language.codec, generator)
        levels = _jittered(
            normal_levels(self.language.view, torch.device("cpu")), frames, self.recipe, generator
        )
        patches = patches_of(frames.pixels, self.language.view, levels=levels)
        packed = self._ask(frames, generator) if self.recipe.answered else None
        device = self.pose.device
        return Lesson(
            _on(frames, device),
            patches.to(device),
            None if packed is None else packed.to(device),
            min(self.recipe.answered, len(frames)),
        )

    def loss(self, batch: Lesson) -> dict[str, Tensor]:
        """See `edgepose.training.loop.Task`."""
        height, width = batch.frames.pixels.shape[1:3]
        rows = self.pose.see(batch.patches, height, width)
        parts = self.head.loss(rows, self._names, batch.frames)
        parts["samples"] = torch.tensor(len(batch.frames))
        if batch.packed is None:
            return parts
        asked, layer = rows[: batch.answered], cast(Any, self.pose.decoder.layers[POINTING_LAYER])
        with WatchedAttention(layer.self_attn) as watched:
            hidden = self.pose.read(asked, batch.packed)
        answers = answer_loss(
            self.pose.logits(hidden).float(), batch.packed, self.language, spread=self.recipe.spread
        )
        parts["rows"] = parts.pop("loss")
        parts["pointer"] = self._pointer_loss(watched, asked, batch)
        own_place = cast(OwnPlace, self.model["own_place"])  # type: ignore[index]
        parts["own place"] = own_place.loss(asked.embeddings, rows.rows, rows.columns)
        loss = (
            answers["loss"]
            + self.recipe.row_weight * parts["rows"]
            + self.recipe.pointer_weight * parts["pointer"]
            + self.recipe.own_place_weight * parts["own place"]
        )
        return {"loss": loss, **_rest(answers), **parts}

    def evaluate(self) -> dict[str, float]:
        """Errors of the arms' joints on the validation frames, metres; of the head alone if it alone learns.

        Keys are as in `evaluate_arms`, and `rows_upper_body` of the head.
        """
        found = evaluate_arms(self.pose, self.language, self._validation) if self.recipe.answered else {}
        return {**found, "rows_upper_body": self._evaluate_rows()}

    def save(self, folder: Path) -> Path:
        """See `edgepose.training.loop.Task`."""
        save_checkpoint(self.pose, folder, files=self._start)
        heads = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self.model.state_dict().items()
            if not name.startswith("pose.")
        }
        save_file(heads, folder / _HEADS_FILE)
        return folder

    def load(self, folder: Path) -> None:
        """See `edgepose.training.loop.Task`."""
        loaded, _ = open_model(folder)
        self.pose.load_state_dict(loaded.state_dict())
        self._load_heads(folder)

    def _load_heads(self, folder: Path) -> None:
        if (folder / _HEADS_FILE).exists():
            self.model.load_state_dict(load_file(folder / _HEADS_FILE), strict=False)

    def _pointer_loss(self, watched: WatchedAttention, rows: FrameRows, batch: Lesson) -> Tensor:
        """Cross-entropy between where the numbers of joints look and where the joints are."""
        packed = batch.packed
        assert packed is not None
        length, start = packed.ids.shape[1], packed.image_start
        everywhere = torch.arange(length, device=packed.ids.device).expand(len(packed.ids), -1)
        image = slice(start, start + rows.rows * rows.columns)
        scores = watched.scores(everywhere, image, POINTING_HEADS).float().log_softmax(-1)
        joint = joints_of(packed, self.language)
        known = joint >= 0
        line, place = packed.where[known] // length, packed.where[known] % length
        aim = spread_over_cells(batch.frames.xy[: batch.answered], rows.rows, rows.columns)
        loss: Tensor = -(scores[line, :, place] * aim[line, joint[known]][:, None]).sum(-1)
        return loss.sum() / max(1, loss.numel())

    def _ask(self, frames: Frames, generator: torch.Generator) -> Packed:
        height, width = frames.pixels.shape[1:3]
        rows, columns = height // self.language.view.factor, width // self.language.view.factor
        asked = frames[: self.recipe.answered]
        trees = draw_trees(asked, rows * columns, self.language, self.recipe.mix, generator)
        return pack(
            trees,
            image_token=self.language.image_token,
            rows=rows,
            columns=columns,
            pad=self.language.codec.pad,
        )

    @torch.no_grad()
    def _evaluate_rows(self) -> float:
        places = [self.language.joints.index(name) for name in SMPL22.groups["upper_body"]]
        errors = []
        for frames in self._validation:
            rows = _rows_of(self.pose, self.language, frames)
            _, numbers = self.head(rows, self._names)
            found = frames.to_camera(numbers[..., 2:].cpu(), self.language.codec)
            right = frames.to_camera(frames.xyz, self.language.codec)
            distance = (found - right).norm(dim=-1)[:, places]
            errors.append(distance[frames.usable[:, places]])
        return float(torch.cat(errors).mean()) if errors else float("nan")


def supervised_task(
    name: str,
    start: Path,
    options: Mapping[str, Any],
    draw: Callable[[int, torch.Generator], Frames],
    validation: Sequence[Frames],
) -> SupervisedTask:
    """A task whose recipe is data: `options` has the fields of `SupervisedRecipe`, `mix` of `LessonMix`."""
    mix, window = LessonMix(**options.get("mix", {})), options.get("window")
    given = {**options, "mix": mix, "window": None if window is None else tuple(window)}
    recipe = SupervisedRecipe(**given)
    return SupervisedTask(name, start, recipe, draw, validation)


def answer_loss(logits: Tensor, packed: Packed, language: Language, *, spread: float) -> dict[str, Tensor]:
    """Cross-entropy of answers: of numbers, and of names, markers and ends, each averaged over its tokens.

    Args:
        logits: (M, vocabulary) float32.
        packed: With the tokens that were to come.
        language: Which tokens are bins.
        spread: Standard deviation, in bins, of what is taught around each number; 0 teaches the one bin.

    Returns:
        `loss`, `numbers` and `words`.
    """
    logs = logits.log_softmax(-1)
    number = ~packed.shares.isnan()
    taught = -logs.gather(1, packed.targets[:, None])[:, 0]
    words = taught[~number].sum() / (~number).sum().clamp(min=1)
    if spread > 0:
        bins = torch.tensor(language.codec.bins, device=logits.device)
        at = packed.shares[number][:, None] * (len(bins) - 1)
        aim = (-0.5 * ((torch.arange(len(bins), device=logits.device) - at) / spread) ** 2).softmax(-1)
        each = -(aim * logs[number][:, bins]).sum(-1)
    else:
        each = taught[number]
    numbers = each.sum() / number.sum().clamp(min=1)
    return {"loss": numbers + words, "numbers": numbers, "words": words}


def joints_of(packed: Packed, language: Language) -> Tensor:
    """(M,) int64: for each learnt number the place in the codec of the joint that it belongs to; -1 for
    numbers of boxes and for tokens that are no numbers."""
    tokens = torch.tensor(language.format.joints, device=packed.ids.device)
    joints = torch.full((int(max(tokens.max(), packed.targets.max())) + 1,), -1, device=tokens.device)
    joints[tokens] = torch.arange(len(tokens), device=tokens.device)
    number = ~packed.shares.isnan()
    order = torch.arange(len(number), device=tokens.device)
    last = torch.where(number, 0, order).cummax(0).values
    return torch.where(number, joints[packed.targets[last]], -1)


@torch.no_grad()
def evaluate_arms(model: TaihriModel, language: Language, validation: Sequence[Frames]) -> dict[str, float]:
    """Asks for the joints of both arms and measures, in the camera's coordinates, those that can be answered.

    Args:
        model: Of the checkpoint.
        language: Of the same.
        validation: Frames, those of each entry of one size.

    Returns:
        Means: `mpjpe_arms` and, of shoulders and elbows, `mpjpe_upper_body`, metres; both with `_expected`
        for expectations over bins in the place of the most probable ones; `xy_arms`, pixels at the canonical
        focal length.
    """
    places = [language.joints.index(name) for name in _ARMS]
    upper = torch.tensor([name in SMPL22.groups["upper_body"] for name in _ARMS])
    sums: dict[str, list[Tensor]] = {}
    for frames in validation:
        located = locate(model, language, _rows_of(model, language, frames), places)
        right = frames.to_camera(frames.xyz, language.codec)[:, places]
        use = frames.usable[:, places]
        for suffix, shares in (("", located.xyz), ("_expected", located.expected_xyz)):
            distance = (frames.to_camera(shares.cpu(), language.codec) - right).norm(dim=-1)
            sums.setdefault(f"mpjpe_arms{suffix}", []).append(distance[use])
            sums.setdefault(f"mpjpe_upper_body{suffix}", []).append(distance[use & upper])
        size = torch.tensor([frames.pixels.shape[2], frames.pixels.shape[1]])
        pixels = ((located.xy.cpu() - frames.xy[:, places]) * size).norm(dim=-1)
        sums.setdefault("xy_arms", []).append(pixels[use])
    return {name: float(torch.cat(found).mean()) for name, found in sums.items()}


def _rows_of(model: TaihriModel, language: Language, frames: Frames) -> FrameRows:
    height, width = frames.pixels.shape[1:3]
    return model.see(patches_of(frames.pixels, language.view).to(model.device), height, width)


def _half_mirrored(frames: Frames, generator: torch.Generator) -> Frames:
    turn = torch.rand(len(frames), generator=generator) < 0.5
    other = mirrored(frames)

    def chosen(name: str) -> Tensor:
        straight: Tensor = getattr(frames, name)
        which = turn.view(-1, *(1,) * (straight.dim() - 1))
        return torch.where(which, getattr(other, name), straight)

    return Frames(**{field.name: chosen(field.name) for field in fields(Frames)})


def _jittered(levels: Tensor, frames: Frames, recipe: SupervisedRecipe, generator: torch.Generator) -> Tensor:
    """(B, 3, 256): normalised values with brightness and contrast changed, in all and in each channel."""
    count = len(frames)

    def change() -> Tensor:
        whole, channel = (
            torch.rand(count, 1, 1, generator=generator),
            torch.rand(count, 3, 1, generator=generator),
        )
        return recipe.jitter * (whole + 0.5 * channel - 0.75) / 0.75

    return ((1 + change()) * levels + change()).clamp(float(levels.min()), float(levels.max()))


def _on(frames: Frames, device: torch.device) -> Frames:
    """Everything but the pixels on a device; of the pixels only the shape is wanted there."""
    moved = {field.name: getattr(frames, field.name) for field in fields(Frames) if field.name != "pixels"}
    return replace(frames, **{name: tensor.to(device) for name, tensor in moved.items()})


def _rest(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in parts.items() if name != "loss"}
