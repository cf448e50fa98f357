# SPDX-License-Identifier: Apache-2.0
"""Random checkpoints: layout, size, reproducibility, and answers that are worth comparing."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

from edgepose.errors import InvalidInputError
from edgepose.export.architectures import DINOV2_LLAMA, QWEN3_VL
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.random_checkpoint import SIZES, RandomSize, train_tokenizer, write_random_checkpoint
from edgepose.export.random_checkpoint.dinov2_llama import _shapes
from edgepose.export.tokenizer import load_tokenizer, parse_sentencepiece
from edgepose.export.weights import ModelWeights

TINY = RandomSize(
    vision_hidden=64, vision_layers=1, hidden=32, layers=1, heads=2, kv_heads=1, intermediate=48
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "random_checkpoint.py"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    spec = importlib.util.spec_from_file_location("random_checkpoint_script", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_published_size_has_the_published_parameter_count() -> None:
    shapes = _shapes("locllm", SIZES["published"], 32000, True)
    counts = {n: math.prod(s) for n, s in shapes.items() if not n.endswith("inv_freq")}
    vision = sum(c for n, c in counts.items() if n.startswith("vision_model.") and "lora" not in n)
    decoder = sum(c for n, c in counts.items() if n.startswith(("model.", "lm_head.")) and "lora" not in n)
    assert vision == 304_368_640
    assert decoder == 6_738_415_616
    assert sum(c for n, c in counts.items() if "lora" in n and n.startswith("model.")) == 4_194_304
    assert sum(c for n, c in counts.items() if "lora" in n and n.startswith("vision")) == 786_432
    assert sum(counts.values()) == 7_051_963_392
    posellm = _shapes("posellm", SIZES["published"], 32000, True)
    assert sum(math.prod(s) for n, s in posellm.items() if n.startswith("mm_projector")) == 20_979_712


@pytest.mark.parametrize("family", ["locllm", "posellm"])
@pytest.mark.parametrize("adapters", [True, False])
def test_is_accepted_as_a_checkpoint(tmp_path: Path, family: str, adapters: bool) -> None:
    write_random_checkpoint(tmp_path, family=family, size=TINY, adapters=adapters)  # type: ignore[arg-type]
    weights = ModelWeights(open_checkpoint(tmp_path), DINOV2_LLAMA)
    assert weights.config.decoder.kv_heads == 1
    assert bool(weights.merged) == adapters
    assert all(bool(torch.isfinite(weights[name]).all()) for name in weights)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.image == weights.config.image_token == weights.config.decoder.vocabulary


def test_seed_decides_and_sharding_does_not(tmp_path: Path) -> None:
    folders = {
        "one": write_random_checkpoint(tmp_path / "one", size=TINY, dtype="float32"),
        "sharded": write_random_checkpoint(
            tmp_path / "sharded", size=TINY, dtype="float32", shard_bytes=1 << 16
        ),
        "other": write_random_checkpoint(tmp_path / "other", size=TINY, dtype="float32", seed=1),
    }
    one, sharded, other = (open_checkpoint(folder).tensors for folder in folders.values())
    for name in one.keys():  # noqa: SIM118
        assert torch.equal(one.load(name), sharded.load(name))
    assert not torch.equal(one.load("model.norm.weight"), other.load("model.norm.weight"))


def test_shards_stay_below_their_limit(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path, size=TINY, shard_bytes=1 << 17)
    index = json.loads((tmp_path / "pytorch_model.bin.index.json").read_text())
    tensors = open_checkpoint(tmp_path).tensors
    sizes: dict[str, list[int]] = {}
    for name in tensors.keys():  # noqa: SIM118
        sizes.setdefault(tensors.shard(name).name, []).append(math.prod(tensors.shape(name)) * 2)
    assert set(sizes) == set(index["weight_map"].values())
    assert all(sum(listed) <= 1 << 17 or len(listed) == 1 for listed in sizes.values())
    assert index["metadata"]["total_size"] == sum(map(sum, sizes.values()))


def test_writing_again_leaves_nothing_of_the_run_before(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path, size=TINY, shard_bytes=1 << 16)
    write_random_checkpoint(tmp_path, size=TINY, file_format="safetensors")
    assert [path.name for path in tmp_path.glob("*model*.*")] and not list(tmp_path.glob("*.bin*"))
    ModelWeights(open_checkpoint(tmp_path), DINOV2_LLAMA)


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_random_checkpoint(tmp_path, size=TINY, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_trained_tokenizer_has_the_structure_of_llamas(tmp_path: Path) -> None:
    model = parse_sentencepiece(train_tokenizer(tmp_path / "t.model", vocabulary=700).read_bytes())
    pieces = [piece.piece for piece in model.pieces]
    assert pieces[:4] == ["<unk>", "<s>", "</s>", "<0x00>"] and pieces[258] == "<0xFF>"
    assert len(pieces) == len(set(pieces)) == 700
    assert {"▁[", *"0123456789.,]"} <= set(pieces)
    assert not [
        piece
        for piece in pieces[259:]
        if len(piece) > 1 and any(c.isdigit() for c in piece) and "filler" not in piece
    ]
    assert model.trainer_spec.byte_fallback and not model.normalizer_spec.remove_extra_whitespaces


def test_bad_sizes_and_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="a multiple of 64"):
        write_random_checkpoint(tmp_path, size=dataclasses.replace(TINY, vision_hidden=100))
    tokenizer = train_tokenizer(tmp_path / "t.model")
    with pytest.raises(InvalidInputError, match="expected a tokenizer of 9999 pieces"):
        size = dataclasses.replace(TINY, vocabulary=9999)
        write_random_checkpoint(tmp_path / "out", size=size, tokenizer=tokenizer)
    with pytest.raises(InvalidInputError, match="expected a readable SentencePiece model; got .*nowhere"):
        write_random_checkpoint(tmp_path / "out", size=TINY, tokenizer=tmp_path / "nowhere")
    model = parse_sentencepiece(tokenizer.read_bytes())
    next(piece for piece in model.pieces if piece.piece == "▁[").piece = "(["
    tokenizer.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInputError, match="lacks ▁\\["):
        write_random_checkpoint(tmp_path / "out", size=TINY, tokenizer=tokenizer)


def test_script_writes_what_its_options_say(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    script.main(
        [str(out), "--family", "posellm", "--vision-hidden", "64", "--vision-layers", "1", "--hidden", "64"]
        + [
            "--layers",
            "2",
            "--intermediate",
            "32",
            "--format",
            "safetensors",
            "--dtype",
            "bfloat16",
            "--legacy",
        ]
    )
    assert capsys.readouterr().out.strip() == str(out)
    checkpoint = open_checkpoint(out)
    weights = ModelWeights(checkpoint, DINOV2_LLAMA)
    assert weights.config.connector.dims == (64, 192, 64)
    assert weights.config.decoder.layers == 2 and weights.config.decoder.intermediate == 32
    assert weights.source_dtype("decoder.norm.weight") == torch.bfloat16
    assert checkpoint.tokenizer_config["legacy"] is True


def test_script_writes_taihri(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    script.main([str(out), "--family", "taihri", "--untied", "--hidden", "64", "--vocabulary", "1500"])
    assert capsys.readouterr().out.strip() == str(out)
    weights = ModelWeights(open_checkpoint(out), QWEN3_VL)
    assert (weights.config.decoder.hidden, weights.config.decoder.vocabulary) == (64, 1500)
    assert not weights.config.tied_head
    assert weights.source_dtype("decoder.norm.weight") == torch.bfloat16
    for arguments, message in (
        (["--size", "2b"], "--size 2b: locllm has small, wide, published"),
        (["--untied"], "locllm has no tied"),
        (["--family", "taihri", "--crop-size", "56"], "taihri has no crop_size"),
    ):
        with pytest.raises(SystemExit):
            script.main([str(out), *arguments])
        assert message in capsys.readouterr().err
