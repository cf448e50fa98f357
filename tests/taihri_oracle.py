# SPDX-License-Identifier: Apache-2.0
"""TAIHRI checkpoints in `transformers`, an oracle for prompts and answers.

Tests that use it need PyTorch and `transformers`; nothing of edgepose is in it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

__all__ = ["TaihriOracle", "focal_frame"]


def focal_frame(image: Image.Image, focal: float, crop: int | None = None) -> Image.Image:
    """The published preprocessing up to the image processor."""
    scale = 1000 / focal
    scaled = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.LANCZOS)
    if crop is None:
        return scaled
    width, height = min(crop, scaled.width), min(crop, scaled.height)
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))


class TaihriOracle:
    """A TAIHRI checkpoint in `transformers`: prompts, pictures and greedy answers as published.

    What Qwen3-VL's processor does is done here with its parts: the processor itself asks for torchvision.
    """

    def __init__(self, folder: Path) -> None:
        import transformers

        qwen2_vl = importlib.import_module("transformers.models.qwen2_vl")
        slow = getattr(qwen2_vl, "Qwen2VLImageProcessorPil", None) or qwen2_vl.Qwen2VLImageProcessor
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self.pictures: Any = slow.from_pretrained(folder)
        self._load = functools.partial(
            transformers.AutoModelForImageTextToText.from_pretrained, folder, dtype=torch.float32
        )

    @functools.cached_property
    def model(self) -> Any:
        return self._load().eval()

    def text(self, question: str) -> str:
        """The prompt before the image token is repeated."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        messages = [
            {"role": "system", "content": "You are a helpful assistant"},
            {"role": "user", "content": content},
        ]
        rendered: str = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        return rendered

    def inputs(self, image: Any, question: str) -> dict[str, Tensor]:
        """What the model is given; `image` as its processor takes it."""
        seen = self.pictures(images=[image], return_tensors="pt")
        count = int(seen["image_grid_thw"].prod()) // self.pictures.merge_size**2
        token = "<|image_pad|>"
        text = self.text(question).replace(token, token * count, 1)
        ids = self.tokenizer(text, return_tensors="pt")["input_ids"]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **seen}
        if "mm_token_type_ids" in inspect.signature(self.model.forward).parameters:
            inputs["mm_token_type_ids"] = (ids == self.tokenizer.convert_tokens_to_ids(token)).int()
        return inputs

    def answer(self, image: Any, question: str, most: int = 40) -> list[int]:
        """Greedy tokens, the published repetition penalty included."""
        inputs = self.inputs(image, question)
        settings = {"do_sample": False, "repetition_penalty": 1.05, "max_new_tokens": most}
        ids = self.model.generate(**inputs, **settings)
        return list(ids[0, inputs["input_ids"].shape[1] :].tolist())
