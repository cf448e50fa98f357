# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the export tests: changed copies of checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from ..taihri_oracle import TaihriOracle

State = dict[str, Tensor]
Rewrite = Callable[..., Path]


@pytest.fixture
def rewrite(tmp_path: Path, locllm_checkpoint: Path) -> Rewrite:
    """Copies a checkpoint into one safetensors file, after a function has changed tensors and config."""
    from safetensors.torch import save_file

    from edgepose.export.checkpoint import open_checkpoint

    def make(
        change: Callable[[State, dict[str, Any]], object],
        source: Path = locllm_checkpoint,
        name: str = "changed",
    ) -> Path:
        checkpoint = open_checkpoint(source)
        state = {key: checkpoint.tensors.load(key) for key in checkpoint.tensors.keys()}  # noqa: SIM118
        config = dict(checkpoint.config)
        change(state, config)
        folder = tmp_path / name
        folder.mkdir()
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        for file in ("tokenizer.model", "tokenizer_config.json", "added_tokens.json"):
            shutil.copyfile(source / file, folder / file)
        return folder

    return make


class Qwen3Vl:
    """A small Qwen3-VL of transformers with random weights, and what its vision encoder is given."""

    GRID = (6, 4)
    """Patches of the frame, rows and columns."""

    def __init__(self, text: dict[str, Any], vision: dict[str, Any], tied: bool) -> None:
        transformers = pytest.importorskip("transformers")
        if not hasattr(transformers, "Qwen3VLForConditionalGeneration"):
            pytest.skip("this transformers has no Qwen3-VL")
        config = transformers.Qwen3VLConfig(
            text_config={
                "hidden_size": 64,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "intermediate_size": 96,
                "vocab_size": 60,
                "max_position_embeddings": 256,
                "rms_norm_eps": 1e-6,
                "rope_theta": 5e6,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_section": [4, 2, 2],
                    "mrope_interleaved": True,
                },
                **text,
            },
            vision_config={
                "hidden_size": 32,
                "depth": 4,
                "num_heads": 2,
                "intermediate_size": 48,
                "patch_size": 4,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "num_position_embeddings": 25,
                "deepstack_visual_indexes": [0, 2],
                **vision,
                "out_hidden_size": text.get("hidden_size", 64),
            },
            image_token_id=59,
            tie_word_embeddings=tied,
            attn_implementation="eager",
        )
        self.model = transformers.Qwen3VLForConditionalGeneration(config).eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(11)
        for name, parameter in self.model.named_parameters():
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.normal_(mean, 0.2, generator=generator)
        self.model.tie_weights()

    def save(self, folder: Path, change: Callable[[State, dict[str, Any]], object] | None = None) -> Path:
        """Writes tensors and configuration as transformers names them, after a change."""
        from safetensors.torch import save_file

        state = {name: tensor.clone().contiguous() for name, tensor in self.model.state_dict().items()}
        if self.model.config.tie_word_embeddings:
            del state["lm_head.weight"]
        config = json.loads(self.model.config.to_json_string(use_diff=False))
        if change is not None:
            change(state, config)
        folder.mkdir(exist_ok=True)
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    def vision_inputs(self) -> dict[str, Tensor]:
        """What the host gives the encoder of a random frame, by the published formulas."""
        vision = self.model.config.vision_config
        rows, columns = self.GRID
        side = round(vision.num_position_embeddings**0.5)
        merge, head_dim = vision.spatial_merge_size, vision.hidden_size // vision.num_heads
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")

        def in_squares(grid: Tensor) -> Tensor:
            cut = grid.reshape(rows // merge, merge, columns // merge, merge)
            return cut.permute(0, 2, 1, 3).reshape(-1)

        y, x = in_squares(y), in_squares(x)
        v = torch.linspace(0, side - 1, rows)[y]
        u = torch.linspace(0, side - 1, columns)[x]
        top, left = v.long(), u.long()
        bottom, right = (top + 1).clamp(max=side - 1), (left + 1).clamp(max=side - 1)
        dv, du = v - top, u - left
        frequencies = 1.0 / 10000.0 ** (torch.arange(0, head_dim // 2, 2) / (head_dim // 2))
        half = torch.cat((y[:, None] * frequencies, x[:, None] * frequencies), dim=1)
        angles = torch.cat((half, half), dim=1)
        generator = torch.Generator().manual_seed(12)
        return {
            "patches": torch.randn(rows * columns, 3 * vision.patch_size**2, generator=generator),
            "position_indices": torch.stack(
                [row * side + column for row in (top, bottom) for column in (left, right)]
            ),
            "position_weights": torch.stack([a * b for a in (1 - dv, dv) for b in (1 - du, du)]),
            "cos": angles.cos(),
            "sin": angles.sin(),
        }

    def vision_outputs(self, patches: Tensor) -> dict[str, Tensor]:
        """What transformers makes of patches (P, 3*p*p): outputs of encoder and connector by our names."""
        visual = self.model.model.visual
        config = self.model.config.vision_config
        modules = {"features": visual.blocks[-1], "image_embeddings": visual.merger}
        for index, layer in enumerate(config.deepstack_visual_indexes):
            modules[f"tap.{index}"] = visual.blocks[layer]
            modules[f"deepstack.{index}"] = visual.deepstack_merger_list[index]
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda module, given, result: found.update({name: result.detach()})

        hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
        pictures = patches.view(len(patches), 3, 1, -1).expand(-1, -1, config.temporal_patch_size, -1)
        visual(pictures.reshape(len(patches), -1), grid_thw=torch.tensor([[1, *self.GRID]]))
        for hook in hooks:
            hook.remove()
        return found


@pytest.fixture
def make_qwen3_vl() -> Callable[..., Qwen3Vl]:
    """Makes a small Qwen3-VL with other sizes of `text` or `vision`, `tied` or not."""

    def make(
        *, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, tied: bool = False
    ) -> Qwen3Vl:
        return Qwen3Vl(text or {}, vision or {}, tied)

    return make


@pytest.fixture(scope="session")
def taihri_oracle(taihri_checkpoint: Path) -> TaihriOracle:
    """The small TAIHRI checkpoint in `transformers`."""
    pytest.importorskip("transformers")
    return TaihriOracle(taihri_checkpoint)
