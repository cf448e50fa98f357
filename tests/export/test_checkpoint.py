# SPDX-License-Identifier: Apache-2.0
"""Checkpoint directories: the published layouts, and hostile ones."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import TensorSource, open_checkpoint
from edgepose.export.random_checkpoint import write_random_checkpoint


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        open_checkpoint(path)
    assert type(caught.value) is InvalidInputError
    return str(caught.value)


@pytest.fixture
def copy(tmp_path: Path, locllm_checkpoint: Path) -> Path:
    """A sharded `.bin` checkpoint to break."""
    folder = tmp_path / "copy"
    shutil.copytree(locllm_checkpoint, folder)
    return folder


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("pytorch_model-*.bin"))


def test_reads_every_layout_alike(tmp_path: Path) -> None:
    folders = []
    for file_format in ("bin", "safetensors"):
        for shard_bytes in (1 << 19, 1 << 30):
            folder = tmp_path / f"{file_format}{shard_bytes}"
            folders.append(write_random_checkpoint(folder, file_format=file_format, shard_bytes=shard_bytes))
            # type: ignore[arg-type]
    sources = [open_checkpoint(folder).tensors for folder in folders]
    names = sources[0].keys()
    for source in sources[1:]:
        assert sorted(source.keys()) == sorted(names) and len(source) == len(names)
        for name in names:
            assert source.shape(name) == sources[0].shape(name)
            assert source.dtype(name) == torch.float16
            assert torch.equal(source.load(name), sources[0].load(name))


def test_reads_shards_without_an_index(copy: Path, locllm_checkpoint: Path) -> None:
    assert len(shards(copy)) > 1
    (copy / "pytorch_model.bin.index.json").unlink()
    assert sorted(open_checkpoint(copy).tensors.keys()) == sorted(
        open_checkpoint(locllm_checkpoint).tensors.keys()
    )


def test_loaded_tensors_belong_to_the_caller(locllm_checkpoint: Path) -> None:
    tensors = open_checkpoint(locllm_checkpoint).tensors
    first = tensors.load("model.norm.weight")
    first.zero_()
    assert tensors.load("model.norm.weight").abs().sum() > 0
    tensors.close()
    assert tensors.load("model.norm.weight").is_contiguous()


def test_configurations_and_other_files(copy: Path) -> None:
    (copy / "training_args.bin").write_bytes(b"not a tensor file")
    (copy / "optimizer.pt").write_bytes(b"neither")
    checkpoint = open_checkpoint(copy)
    assert checkpoint.path == copy
    assert checkpoint.config["model_type"] == "locllm"
    assert checkpoint.tokenizer_config["legacy"] is False
    assert "model.norm.weight" in checkpoint.tensors and "model.nonsense" not in checkpoint.tensors
    assert checkpoint.tensors.shard("model.norm.weight").parent == copy
    (copy / "tokenizer_config.json").unlink()
    assert open_checkpoint(copy).tokenizer_config == {}


def test_shards_are_closed_while_reading(locllm_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.export.checkpoint.tensor_source._RELEASE_BYTES", 1000)
    closed = []
    original = TensorSource.close
    monkeypatch.setattr(TensorSource, "close", lambda self: (closed.append(self), original(self))[1])
    tensors = open_checkpoint(locllm_checkpoint).tensors
    for _ in range(3):
        tensors.load("lm_head.weight")
    assert len(closed) == 2


def test_missing_directory(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert "expected a directory" in message and "nowhere" in message
    file = tmp_path / "file"
    file.touch()
    assert "got a file" in refusal(file)


def test_missing_and_broken_configuration(copy: Path) -> None:
    (copy / "config.json").write_text("{", encoding="utf-8")
    assert "config.json to be JSON" in refusal(copy)
    (copy / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "config.json to be JSON" in refusal(copy)
    (copy / "config.json").write_text("[]", encoding="utf-8")
    assert "JSON object; got list" in refusal(copy)
    (copy / "config.json").unlink()
    assert "expected the file config.json" in refusal(copy)


def test_no_weights_at_all(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert "pytorch_model*.bin" in refusal(tmp_path) and "config.json" in refusal(tmp_path)


def test_missing_shards_are_all_named(copy: Path) -> None:
    gone = shards(copy)[1:3]
    for shard in gone:
        shard.unlink()
    message = refusal(copy)
    assert all(shard.name in message for shard in gone)
    (copy / "pytorch_model.bin.index.json").unlink()
    assert "missing: number 2, 3" in refusal(copy)


def test_shards_of_two_saves(copy: Path) -> None:
    (copy / "pytorch_model.bin.index.json").unlink()
    shutil.copyfile(shards(copy)[0], copy / "pytorch_model-00001-of-00099.bin")
    assert "expected the shards of one save" in refusal(copy)


@pytest.mark.parametrize("keep", [0, 10, 1000, -100])
def test_truncated_pickle_shard(copy: Path, keep: int) -> None:
    shard = shards(copy)[1]
    shard.write_bytes(shard.read_bytes()[:keep])
    message = refusal(copy)
    assert shard.name in message and "download the file again" in message


@pytest.mark.parametrize("keep", [0, 4, 100, -100])
def test_truncated_safetensors(tmp_path: Path, posellm_checkpoint: Path, keep: int) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(posellm_checkpoint, folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    message = refusal(folder)
    assert "model.safetensors" in message and "download the file again" in message


def test_safetensors_with_a_hostile_header(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    assert "model.safetensors" in refusal(tmp_path)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_never_executed(copy: Path, zipped: bool) -> None:
    shard = shards(copy)[0]
    if zipped:
        torch.save({"weight": torch.zeros(1), "bomb": Bomb()}, shard)
    else:
        shard.write_bytes(pickle.dumps({"bomb": Bomb()}))
    message = refusal(copy)
    assert shard.name in message and ("execute" in message or "zip format" in message)


def test_values_that_are_no_tensors(copy: Path) -> None:
    shard = shards(copy)[0]
    torch.save({"model": {"weight": torch.zeros(1)}, "epoch": 3}, shard)
    assert "other values under model, epoch" in refusal(copy)
    torch.save([torch.zeros(1)], shard)
    assert "dictionary of tensors; got list" in refusal(copy)


def test_index_that_does_not_match_its_shards(copy: Path) -> None:
    index = copy / "pytorch_model.bin.index.json"
    stored = json.loads(index.read_text())
    names = list(stored["weight_map"])
    stored["weight_map"]["model.ghost"] = stored["weight_map"][names[0]]
    stored["weight_map"][names[0]] = shards(copy)[-1].name
    index.write_text(json.dumps(stored))
    message = refusal(copy)
    assert "model.ghost" in message and names[0] in message


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/passwd", "sub/shard.bin", "..", ""])
def test_index_that_leaves_its_folder(copy: Path, name: str) -> None:
    index = copy / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    assert "to lie in its own folder" in refusal(copy)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}'])
def test_index_of_another_form(copy: Path, content: str) -> None:
    (copy / "pytorch_model.bin.index.json").write_text(content)
    assert "weight_map" in refusal(copy)


def test_a_tensor_in_two_shards(copy: Path) -> None:
    first, last = shards(copy)[0], shards(copy)[-1]
    state = torch.load(last, weights_only=True)
    name = next(iter(torch.load(first, weights_only=True)))
    torch.save(state | {name: torch.zeros(1)}, last)
    message = refusal(copy)
    assert name in message and first.name in message and last.name in message


def test_safetensors_types_that_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    assert "a is F8_E4M3" in refusal(tmp_path)
